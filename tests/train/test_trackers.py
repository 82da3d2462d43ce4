"""Metrics to other people's trackers: TensorBoard for real, and what is missing or broken is told, never fatal."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.train.plans import tiny_job, tiny_plan
from tests.train.test_resume import at_step

from trainwright.errors import InvalidInputError
from trainwright.jobs.parse import parse_job
from trainwright.records.step import read_steps
from trainwright.train.run import run_plan


def test_tensorboard_has_every_step_once_also_after_a_restart(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = tiny_plan(tmp_path, job=tiny_job(trackers=("installed",)))

    def fail() -> None:
        raise RuntimeError("the sky fell")

    with pytest.raises(RuntimeError):
        run_plan(folder, progress=at_step(4, fail))
    record = run_plan(folder)
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    steps = read_steps(folder)
    for name, expected in (
        ("train/loss", [(s.step + 1, s.loss) for s in steps]),
        ("seconds/backward", [(s.step + 1, s.time["backward"]) for s in steps]),
        ("held_out/loss", [(e.step, e.loss) for e in record.evaluations]),
    ):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-6)


def test_one_that_is_missing_or_fails_is_told_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ModuleType("wandb")
    broken.__spec__ = sys.__spec__
    monkeypatch.setitem(sys.modules, "wandb", broken)
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "mlflow" else find(name, *more))
    told: list[Any] = []
    record = run_plan(tiny_plan(tmp_path, job=tiny_job(trackers=("mlflow", "wandb"))), progress=told.append)
    assert record.status == "finished"
    talk = [event for event in told if isinstance(event, str)]
    assert any("mlflow is not installed: metrics are in steps.jsonl only (pip install mlflow)" in line for line in talk)
    assert any(line.startswith("wandb is left out: module 'wandb' has no attribute 'init'") for line in talk)


def test_an_unknown_tracker_is_refused() -> None:
    text = """
[model]
layers = 1
hidden = 32
heads = 2
[data]
builtin = "python-reference"
[training]
global_batch = 1
sequence = 8
steps = 1
[output]
trackers = ["tensorbord"]
"""
    with pytest.raises(InvalidInputError, match="did you mean tensorboard"):
        parse_job(text, "job.toml")
