"""A batch that gives NaN: named and kept, then the run stops or goes on without it, on every process alike."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tests.train.doomed import POISON
from tests.train.plans import tiny_job, tiny_plan

from trainwright.errors import CheckpointError, InterruptedRunError, NumericsError
from trainwright.jobs.job import OptimizerSettings, Stopping, TextData
from trainwright.jobs.strategy import Strategy
from trainwright.records.run import read_run
from trainwright.records.step import read_steps
from trainwright.train.run import run_plan


def poisoned_plan(folder: Path, **settings: Any) -> Path:
    """One of many documents has the character that the model cannot stand."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{n} bottles of beer on the wall, {n} bottles of beer.\n" for n in range(99, 0, -1)]
    (folder / "text").mkdir(exist_ok=True)
    for n in range(11):
        text = "".join(lines[9 * n : 9 * n + 9])
        (folder / "text" / f"{n:02}.txt").write_text(text[:200] + chr(POISON) + text[200:] if n == 4 else text)
    data = TextData(paths=(folder / "text",), tokenizer="bytes", held_out_share=0.0)
    strategy = settings.pop("strategy", Strategy(micro_batch=4, precision="fp32"))
    job = tiny_job(data=data, stopping=Stopping(steps=20), **settings)
    return tiny_plan(folder / "run", job=job, strategy=strategy, model={"function": "tests.train.doomed:allergic"})


@pytest.mark.parametrize(
    "strategy",
    [
        Strategy(micro_batch=4, precision="fp32"),
        pytest.param(
            Strategy(dp=2, zero_stage=1, micro_batch=4, precision="fp32"),
            marks=[pytest.mark.distributed, pytest.mark.slow],
        ),
    ],
)
def test_a_bad_batch_is_named_and_kept_and_left_out(tmp_path: Path, strategy: Strategy) -> None:
    folder = poisoned_plan(tmp_path, on_nan="skip", strategy=strategy)
    record = run_plan(folder)
    assert record.status == "finished"
    assert 0 < len(record.skipped_steps) < 10
    taken = [step.step for step in read_steps(folder)]
    assert sorted([*taken, *record.skipped_steps]) == list(range(20))
    kept = sorted((folder / "bad_batches").iterdir())
    assert [path.name for path in kept] == [f"step_{step:08d}.safetensors" for step in record.skipped_steps]
    for path, note in zip(kept, record.notes, strict=True):
        assert f"kept in bad_batches/{path.name}: left out" in note
        assert ".txt" in note
        with safe_open(path, framework="pt") as file:
            assert (file.get_tensor("inputs") == POISON).any()
            assert file.get_tensor("inputs").shape == (8, 16)
            assert "04.txt" in file.metadata()["sources"]
    with safe_open(folder / "model" / "model.safetensors", framework="pt") as file:
        assert all(torch.isfinite(file.get_tensor(name)).all() for name in file.keys())  # noqa: SIM118


@pytest.mark.distributed
def test_by_default_the_run_stops_at_it(tmp_path: Path) -> None:
    folder = poisoned_plan(tmp_path, strategy=Strategy(dp=2, micro_batch=4, precision="fp32"))
    with pytest.raises(NumericsError, match=r"step \d+, on 8 sequences from .*kept in bad_batches/step_") as caught:
        run_plan(folder)
    assert "training.on_nan" in str(caught.value.hint)
    assert len(list((folder / "bad_batches").iterdir())) == 1


def test_too_many_in_a_row_stop_the_run_whatever_the_job_says(tmp_path: Path) -> None:
    job = tiny_job(
        optimizer=OptimizerSettings(name="sgd", learning_rate=1e30, clip_norm=None),
        on_nan="skip",
        stopping=Stopping(steps=20),
    )
    with pytest.raises(NumericsError, match="the 5th such batch in a row"):
        run_plan(tiny_plan(tmp_path, job=job))
    assert len(read_run(tmp_path).skipped_steps) == 5


def test_a_full_disk_says_so_there_too(tmp_path: Path) -> None:
    folder = poisoned_plan(tmp_path)
    (folder / "bad_batches").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match=r"bad_batches.* cannot be written: File exists"):
        run_plan(folder)


def test_what_was_left_out_is_still_known_after_a_restart(tmp_path: Path) -> None:
    folder = poisoned_plan(tmp_path, on_nan="skip")
    expected = run_plan(folder).skipped_steps
    again = poisoned_plan(tmp_path / "again", on_nan="skip")

    def stop_late(event: Any) -> None:
        if getattr(event, "step", 0) > expected[0] + 1:
            raise InterruptedRunError("enough")

    with pytest.raises(InterruptedRunError):
        run_plan(again, progress=stop_late)
    assert run_plan(again).skipped_steps == expected
