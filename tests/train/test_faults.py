"""The fault suite: named faults, done to runs for real. docs/faults.md lists every fault and its test."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.faults import stopped_run, verdict
from tests.train.faults import ELEVEN, MORE
from tests.train.plans import LLAMA, tiny_job, tiny_plan
from tests.train.test_resume import GPT2_WITH_DROPOUT, at_step, digest, in_child, outcome

from trainwright.errors import CheckpointError, InterruptedRunError, TrainwrightError
from trainwright.jobs.job import Stopping, TextData
from trainwright.jobs.strategy import Strategy
from trainwright.records.run import read_run
from trainwright.records.step import read_steps
from trainwright.train.run import Event, run_plan

ROOT = Path(__file__).parents[2]
DP2 = Strategy(dp=2, micro_batch=4, precision="fp32")
DOOMED = {"function": "tests.train.doomed:model"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """What a run left alone comes to, and the folder of one that was stopped after its fifth step."""
    around = tmp_path_factory.mktemp("faults")
    run_plan(tiny_plan(around / "alone", model=GPT2_WITH_DROPOUT))
    return outcome(around / "alone"), stopped_run(around / "stopped")


@pytest.mark.parametrize("name", [*ELEVEN, *MORE])
def test_a_damaged_checkpoint_is_found_and_the_one_before_is_used(
    tmp_path: Path, runs: tuple[Any, Path], name: str
) -> None:
    undisturbed, stopped = runs
    found = verdict(stopped, tmp_path / "run", {**ELEVEN, **MORE}[name], undisturbed)
    assert re.match(r"well: the checkpoint of step 5 is damaged \(.*\): going on from step 4 instead", found), found
    assert ("of version 99" in found) == (name == "another version")


@pytest.mark.distributed
def test_shards_that_changed_places_are_found(tmp_path: Path) -> None:
    zero = Strategy(dp=2, micro_batch=4, precision="fp32", zero_stage=1)
    alone = tiny_plan(tmp_path / "alone", strategy=zero)
    run_plan(alone)
    folder = tiny_plan(tmp_path / "run", strategy=zero)
    with pytest.raises(InterruptedRunError):
        run_plan(folder, progress=at_step(4, lambda: os.kill(os.getpid(), signal.SIGINT)))
    newest = max((folder / "checkpoints").glob("step_*"))
    one, two = (newest / f"rank_{rank}.safetensors" for rank in (0, 1))
    one.rename(newest / "aside")
    two.rename(one)
    (newest / "aside").rename(two)
    record = run_plan(folder)
    assert f"step {int(newest.name[5:])} is damaged (rank_0.safetensors has" in record.notes[0]
    assert "rank_1.safetensors has" in record.notes[0]
    assert outcome(folder) == outcome(alone)


def version_1_plan(folder: Path) -> Path:
    """A Llama of 3,000 parameters, four steps."""
    folder.mkdir(parents=True)
    text = folder / "a.txt"
    text.write_text("All that is gold does not glitter. " * 100)
    small = {**LLAMA, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    job = tiny_job(data=TextData(paths=(text,), tokenizer="bytes"), stopping=Stopping(steps=4), evaluate_every=100)
    return tiny_plan(folder / "run", job=job, model={**small, "intermediate_size": 16, "tie_word_embeddings": True})


def test_a_checkpoint_of_the_first_version_is_read_for_ever(tmp_path: Path) -> None:
    """tests/train/version_1 was written on 2026-11-21 and stays as it is: step 2 of 4, and the losses of all four."""
    kept = Path(__file__).parent / "version_1"
    folder = version_1_plan(tmp_path / "old")
    shutil.copytree(kept / "step_00000002", folder / "checkpoints" / "step_00000002")
    assert run_plan(folder).resumed_from == 2
    expected = json.loads((kept / "losses.json").read_text())
    assert [step.loss for step in read_steps(folder)] == pytest.approx(expected[2:], rel=1e-4)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 KB; skips where none can be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here (needs root)")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_is_truly_full(small_disk: Path, tmp_path: Path, runs: tuple[Any, Path]) -> None:
    """The run stops and names the checkpoint that stands; with room again it ends with the same bits."""
    folder = tiny_plan(tmp_path / "run", model=GPT2_WITH_DROPOUT)
    (folder / "checkpoints").symlink_to(small_disk)
    blocker = small_disk / "ballast"

    def fill(event: Event) -> None:
        if (small_disk / "step_00000002").exists() and not blocker.exists():
            statistics = os.statvfs(small_disk)
            blocker.write_bytes(bytes(max(0, statistics.f_bavail * statistics.f_frsize - 50_000)))

    with pytest.raises(CheckpointError, match="No space left on device\nhint: the checkpoint of step 2 is intact"):
        run_plan(folder, progress=fill)
    assert read_run(folder).status == "failed"
    assert not list(small_disk.glob("*.part"))
    blocker.unlink()
    subprocess.run(["mount", "-o", "remount,size=5m", str(small_disk)], check=True)
    assert run_plan(folder).resumed_from == 2
    assert outcome(folder) == runs[0]


def test_a_disk_that_became_read_only(small_disk: Path, tmp_path: Path, runs: tuple[Any, Path]) -> None:
    subprocess.run(["mount", "-o", "remount,size=5m", str(small_disk)], check=True)
    folder = tiny_plan(tmp_path / "run", model=GPT2_WITH_DROPOUT)
    (folder / "checkpoints").symlink_to(small_disk)

    def seal(event: Event) -> None:
        if (small_disk / "step_00000002").exists():
            subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=False, capture_output=True)

    with pytest.raises(CheckpointError, match="Read-only file system\nhint: the checkpoint of step 2 is intact"):
        run_plan(folder, progress=seal)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert run_plan(folder).status == "finished"
    assert outcome(folder) == runs[0]


def test_a_disk_that_errs(tmp_path: Path, runs: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    flush = os.fsync

    def fail(descriptor: int) -> None:
        if "step_00000004" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(5, "Input/output error")
        flush(descriptor)

    folder = tiny_plan(tmp_path, model=GPT2_WITH_DROPOUT)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(CheckpointError, match="Input/output error\nhint: the checkpoint of step 2 is intact"):
            run_plan(folder)
    assert run_plan(folder).resumed_from == 2
    assert outcome(folder) == runs[0]


@pytest.mark.distributed
def test_twenty_losses_in_a_row_and_every_one_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in each of twenty starts at its fourth step: every one gets further, and the bits are right at the end."""
    monkeypatch.setenv("MISFORTUNE", str(tmp_path / "misfortune"))
    job = tiny_job(stopping=Stopping(steps=80), checkpoint_every=1, evaluate_every=1000, restarts=1)
    run_plan(tiny_plan(tmp_path / "alone", job=job, strategy=DP2, model=DOOMED))
    (tmp_path / "misfortune").write_text(json.dumps({"kind": "kill", "call": 4, "rank": 1, "again": True}))
    told: list[Event] = []

    def listen(event: Event) -> None:
        told.append(event)
        if len([said for said in told if "starting again" in str(said)]) == 20:
            (tmp_path / "misfortune").unlink(missing_ok=True)

    folder = tiny_plan(tmp_path / "run", job=job, strategy=DP2, model=DOOMED)
    assert run_plan(folder, progress=listen).status == "finished"
    assert len([event for event in told if "was killed by SIGKILL" in str(event)]) == 20
    assert digest(folder) == digest(tmp_path / "alone")
    assert [s.loss for s in read_steps(folder)] == [s.loss for s in read_steps(tmp_path / "alone")]


def text_plan(folder: Path, text: Path) -> Path:
    text.write_text("All that is gold does not glitter. " * 100)
    return tiny_plan(folder, job=tiny_job(data=TextData(paths=(text,), tokenizer="bytes")))


@pytest.mark.parametrize("how", ["vanishes", "changes"])
def test_a_source_that_is_lost_in_mid_run(tmp_path: Path, how: str) -> None:
    """Its tokens are the run's own: the run ends with the same bits."""
    text = tmp_path / "a.txt"
    alone, folder = text_plan(tmp_path / "alone", text), text_plan(tmp_path / "run", text)
    run_plan(alone)
    lose = text.unlink if how == "vanishes" else lambda: text.write_text("other")
    run_plan(folder, progress=at_step(2, lambda: lose() and None))
    assert outcome(folder) == outcome(alone)


@pytest.mark.parametrize("how", ["vanish", "are cut short"])
def test_tokens_that_are_lost_in_mid_run(tmp_path: Path, how: str) -> None:
    """Whatever the run comes to, the next start makes them again from the source and ends with the same bits."""
    text = tmp_path / "a.txt"
    alone, folder = text_plan(tmp_path / "alone", text), text_plan(tmp_path / "run", text)
    run_plan(alone)
    tokens = folder / "data" / "train.npy"
    lose = tokens.unlink if how == "vanish" else lambda: os.truncate(tokens, 200)
    code = in_child(lambda: run_plan(folder, progress=at_step(2, lose)))
    assert code == (0 if how == "vanish" else -signal.SIGBUS)
    run_plan(folder)
    assert outcome(folder) == outcome(alone)


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("raise", "the sky fell"),
        ("exit", "ended with exit code 0"),
        ("out of memory", "can't allocate memory"),
    ],
)
def test_one_process_fails_and_the_others_end_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, message: str
) -> None:
    monkeypatch.setenv("MISFORTUNE", str(tmp_path / "misfortune"))
    (tmp_path / "misfortune").write_text(json.dumps({"kind": kind, "call": 3, "rank": 1}))
    folder = tiny_plan(tmp_path / "run", job=tiny_job(restarts=0), strategy=DP2, model=DOOMED)
    with pytest.raises(TrainwrightError, match=f"(?s)process 1 of 2.*{message}"):
        run_plan(folder)
    assert run_plan(folder).status == "finished"


def test_every_fault_of_the_page_has_its_test() -> None:
    page = (ROOT / "docs" / "faults.md").read_text()
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", page)
    assert len(named) > 25
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(), (file, name)
    assert all(f"| {name} |" in page for name in ELEVEN)
    assert "0 of 11 lead to a crash or a silent loss" in page
