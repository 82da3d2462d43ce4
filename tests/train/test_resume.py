"""Killed for real at every step and at every moment of a save, and started again: the bits of a run left alone."""

import hashlib
import json
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tests.train.faults import flip
from tests.train.plans import tiny_job, tiny_plan

from trainwright.errors import CheckpointError, InterruptedRunError, PreemptedError, TrainwrightError
from trainwright.jobs.job import Job, OptimizerSettings, RateSchedule, Stopping
from trainwright.jobs.strategy import Strategy
from trainwright.records.run import read_run
from trainwright.records.step import StepRecord, read_steps
from trainwright.train.run import Event, run_plan

GPT2_WITH_DROPOUT = {
    "model_type": "gpt2", "vocab_size": 256, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip


def in_child(action: Callable[[], object]) -> int:
    """Do it in a forked process; its exit code, negative when a signal ended it."""
    process = multiprocessing.get_context("fork").Process(target=action)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def at_step(step: int, action: Callable[[], object]) -> Callable[[Event], None]:
    def watch(event: Event) -> None:
        if isinstance(event, StepRecord) and event.step == step:
            action()

    return watch


def at_any_step(action: Callable[[], object]) -> Callable[[Event], None]:
    return lambda event: action() if isinstance(event, StepRecord) else None


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


def last_checkpoint(folder: Path) -> Path:
    return sorted((folder / "checkpoints").glob("step_*"))[-1]


def outcome(folder: Path) -> tuple[str, list[float], str]:
    """What must not differ: weights, losses, and the last checkpoint with optimizer and random state."""
    kept = hashlib.sha256((last_checkpoint(folder) / "rank_0.safetensors").read_bytes()).hexdigest()
    return digest(folder), [step.loss for step in read_steps(folder)], kept


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tiny_plan(tmp_path_factory.mktemp("alone"), model=GPT2_WITH_DROPOUT)
    run_plan(folder)
    return outcome(folder)


@pytest.mark.parametrize("step", range(6))
def test_killed_at_a_step(tmp_path: Path, undisturbed: Any, step: int) -> None:
    """The checkpoint begun last may have been on its way to the disk; then the one before counts."""
    folder = tiny_plan(tmp_path, model=GPT2_WITH_DROPOUT)
    assert in_child(lambda: run_plan(folder, progress=at_step(step, kill_myself))) == -signal.SIGKILL
    assert run_plan(folder).resumed_from in [begun or None for begun in (step // 2 * 2, step // 2 * 2 - 2)]
    assert outcome(folder) == undisturbed


@pytest.mark.parametrize("moment", range(5))
def test_killed_while_saving(tmp_path: Path, undisturbed: Any, moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first save flushes the tensors, the manifest, its folder and the one around; then comes the second save."""
    folder = tiny_plan(tmp_path, model=GPT2_WITH_DROPOUT)
    flush = os.fsync

    def killing() -> None:
        flushed: list[int] = []

        def count(descriptor: int) -> None:
            if "checkpoints" in os.readlink(f"/proc/self/fd/{descriptor}"):
                flushed.append(descriptor)
                if len(flushed) > moment:
                    kill_myself()
            flush(descriptor)

        os.fsync = count
        run_plan(folder)

    assert in_child(killing) == -signal.SIGKILL
    assert run_plan(folder).resumed_from == (None if moment < 3 else 2)
    assert not list((folder / "checkpoints").glob("*.part"))
    assert outcome(folder) == undisturbed


@pytest.mark.parametrize("n_bytes", [1, 4097, 150_000])
def test_killed_in_the_middle_of_a_file(tmp_path: Path, undisturbed: Any, n_bytes: int) -> None:
    """The system ends the process at exactly this byte of the first file that gets so long."""
    folder = tiny_plan(tmp_path, model=GPT2_WITH_DROPOUT)

    def killing() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        limit = at_step(1, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY)))
        run_plan(folder, progress=limit)

    assert in_child(killing) == -signal.SIGXFSZ
    assert run_plan(folder).resumed_from is None
    assert outcome(folder) == undisturbed


@pytest.mark.parametrize(
    ("number", "kind", "status"),
    [
        (signal.SIGINT, InterruptedRunError, "interrupted"),
        (signal.SIGTERM, PreemptedError, "preempted"),
        (signal.SIGUSR1, PreemptedError, "preempted"),
    ],
)
def test_asked_to_stop(
    tmp_path: Path, undisturbed: Any, number: int, kind: type[TrainwrightError], status: str
) -> None:
    folder = tiny_plan(tmp_path, model=GPT2_WITH_DROPOUT)
    with pytest.raises(kind, match="stopped after step 4 of 6 and saved\nhint: run the same command again"):
        run_plan(folder, progress=at_step(3, lambda: os.kill(os.getpid(), number)))
    assert read_run(folder).status == status
    assert run_plan(folder).resumed_from == 4
    assert outcome(folder) == undisturbed


def test_with_every_checkpoint_damaged_the_run_says_so(tmp_path: Path) -> None:
    folder = tiny_plan(tmp_path)
    with pytest.raises(InterruptedRunError):
        run_plan(folder, progress=at_step(4, lambda: os.kill(os.getpid(), signal.SIGINT)))
    for manifest in (folder / "checkpoints").glob("*/manifest.json"):
        flip(manifest)
    with pytest.raises(CheckpointError, match=r"no usable checkpoint in .*step 5 is damaged .*step 4 is damaged"):
        run_plan(folder)


def test_a_disk_that_is_full_while_saving(tmp_path: Path, undisturbed: Any) -> None:
    """The thread that writes cannot: the run hears of it and stops; there is no half checkpoint."""
    folder = tiny_plan(tmp_path, model=GPT2_WITH_DROPOUT)
    job = tiny_job(stopping=Stopping(steps=400))
    tiny_plan(folder, job=job, model=GPT2_WITH_DROPOUT)

    def with_little_room() -> None:
        def limit(event: Event) -> None:
            if (folder / "checkpoints" / "step_00000002").exists():
                resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))

        with pytest.raises(
            CheckpointError, match=r"cannot save a checkpoint in .*: .*\nhint: .*step \d+ is intact; make room"
        ):
            run_plan(folder, progress=limit)

    assert in_child(with_little_room) == 0
    assert not list((folder / "checkpoints").glob("*.part"))
    assert read_run(folder).status == "failed"
    assert read_run(folder).steps < 400


def test_old_checkpoints_are_dropped(tmp_path: Path) -> None:
    folder = tiny_plan(tmp_path, job=tiny_job(checkpoint_every=1, keep_checkpoints=3, stopping=Stopping(steps=5)))
    run_plan(folder)
    assert [p.name for p in sorted((folder / "checkpoints").iterdir())] == [f"step_0000000{n}" for n in (3, 4, 5)]


def test_the_best_checkpoint_stays_and_is_exported(tmp_path: Path) -> None:
    """A rate far too high makes every step after the first two worse."""
    job = tiny_job(
        optimizer=OptimizerSettings(name="sgd", learning_rate=3.0, momentum=0.0, clip_norm=1.0),
        schedule=RateSchedule(name="constant", warmup_share=0.0),
        stopping=Stopping(steps=9),
        evaluate_every=1,
        checkpoint_every=3,
        keep_checkpoints=1,
        keep_best=True,
    )
    record = run_plan(tiny_plan(tmp_path, job=job))
    best = min(record.evaluations, key=lambda check: check.loss)
    assert best.step < 9
    kept = [f"step_{step:08d}" for step in (best.step, 9)]
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == kept
    assert f"the model of step {best.step} is exported" in record.notes[-1]
    manifest = json.loads((tmp_path / "checkpoints" / kept[0] / "manifest.json").read_text())
    assert manifest["score"] == best.loss
    with (
        safe_open(tmp_path / "model" / "model.safetensors", framework="pt") as model,
        safe_open(tmp_path / "checkpoints" / kept[0] / "rank_0.safetensors", framework="pt") as saved,
    ):
        name = "model.embed_tokens.weight"
        assert torch.equal(model.get_tensor(name), saved.get_tensor(f"weights/{name}"))


def test_steps_go_on_while_a_checkpoint_is_written(tmp_path: Path, undisturbed: Any) -> None:
    """A disk that takes its time: step 2 is on the way until step 3 was taken, and what is written is of step 2."""
    folder = tiny_plan(tmp_path, job=tiny_job(keep_checkpoints=3), model=GPT2_WITH_DROPOUT)
    passed = threading.Event()
    flush = os.fsync

    def slow(descriptor: int) -> None:
        if "step_00000002.part" in os.readlink(f"/proc/self/fd/{descriptor}"):
            assert passed.wait(30)
        flush(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", slow)
        record = run_plan(folder, progress=at_step(2, passed.set))
    for manifest in (folder / "checkpoints").glob("*/manifest.json"):
        state = json.loads(manifest.read_text())["state"]
        taken = int(manifest.parent.name[-8:])
        assert state["losses"]["last"] == read_steps(folder)[taken - 1].loss
    assert record.n_checkpoints == 3
    assert 0 < record.checkpoint_s < record.seconds
    assert outcome(folder) == undisturbed


@pytest.mark.distributed
@pytest.mark.slow
def test_two_processes_killed_stopped_and_resumed_on_another_mesh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker dies by SIGKILL: the run names it; started again it ends with the bits of one left alone.

    What SIGTERM stopped goes on as one process, with the same losses to rounding.
    """
    monkeypatch.setenv("MISFORTUNE", str(tmp_path / "misfortune"))
    doomed = {"function": "tests.train.doomed:model"}
    dp2 = Strategy(dp=2, micro_batch=4, precision="fp32")
    alone = tiny_plan(tmp_path / "alone", strategy=dp2, model=doomed)
    run_plan(alone)
    folder = tiny_plan(tmp_path / "killed", job=tiny_job(restarts=0), strategy=dp2, model=doomed)
    foresee(tmp_path, "kill", call=4)
    with pytest.raises(TrainwrightError, match="process 1 of 2 was killed by SIGKILL at step 3"):
        run_plan(folder)
    assert run_plan(folder).resumed_from in (2, None)
    assert outcome(folder) == outcome(alone)
    tp2 = tiny_plan(tmp_path / "tp2", strategy=Strategy(tp=2, micro_batch=8, precision="fp32"), model=doomed)
    foresee(tmp_path, "SIGTERM", call=4)
    with pytest.raises(PreemptedError, match="stopped after step 4 of 6"):
        run_plan(tp2)
    tiny_plan(tp2)
    assert run_plan(tp2).resumed_from == 4
    losses = [step.loss for step in read_steps(alone)]
    assert [step.loss for step in read_steps(tp2)] == pytest.approx(losses, rel=1e-5)


@pytest.mark.distributed
@pytest.mark.slow
def test_a_run_goes_on_over_many_meshes(tmp_path: Path) -> None:
    """One more step on each: the losses are those of one process."""
    two = {"micro_batch": 2, "precision": "fp32"}
    meshes = [
        Strategy(dp=2, zero_stage=1, **two),
        Strategy(pp=2, **two),
        Strategy(dp=2, zero_stage=3, **two),
        Strategy(cp=2, **two),
        Strategy(tp=2, sequence_parallel=True, **two),
    ]
    steady = RateSchedule(name="constant", warmup_share=0.0)

    def at(n_steps: int) -> Job:
        return tiny_job(stopping=Stopping(steps=n_steps), schedule=steady, evaluate_every=1)

    tied = {**GPT2_WITH_DROPOUT, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    alone = tiny_plan(tmp_path / "alone", job=at(len(meshes)), model=tied)
    expected = run_plan(alone)
    for n_steps, strategy in enumerate(meshes, start=1):
        folder = tiny_plan(tmp_path / "moving", job=at(n_steps), strategy=strategy, model=tied)
        (folder / "run.json").unlink(missing_ok=True)
        record = run_plan(folder)
        assert record.resumed_from == (n_steps - 1 or None)
    losses = [step.loss for step in read_steps(alone)]
    assert [step.loss for step in read_steps(folder)] == pytest.approx(losses, rel=2e-5)
    checks = [evaluation.loss for evaluation in expected.evaluations]
    assert [evaluation.loss for evaluation in record.evaluations] == pytest.approx(checks, rel=2e-5)


def foresee(folder: Path, kind: str, call: int, rank: int = 1) -> None:
    (folder / "misfortune").write_text(json.dumps({"kind": kind, "call": call, "rank": rank}))
