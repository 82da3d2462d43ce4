"""run.json: what happened, measured; written when a run ends, however it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainwright
from trainwright.records.store import from_fields, read_record, write_record

SCHEMA_VERSION = 1
FILE_NAME = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Held-out loss (nats per target) and perplexity after ``step`` steps; the share of right answers for classes."""

    step: int
    loss: float
    perplexity: float
    accuracy: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRecord:
    """One process of a run: the most bytes its allocator held in a step, its most resident memory, seconds by part."""

    rank: int
    peak_bytes: float | None
    resident_bytes: float
    time: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run, possibly resumed: measured medians to lay beside the plan.

    ``status``: finished, interrupted, preempted or failed. ``step_s``: mean of the middle half of the steps by length;
    ``time``: the same by part (StepRecord.time), of the process that worked the most, which a prediction describes.
    ``peak_bytes``: most bytes live in torch's allocator during one step on the fullest rank; ``resident_bytes``: most
    resident memory of a process, by rank; ``ranks``: every process. ``measured_steps``: how many steps this stands on
    (the first ones are left out).
    ``checkpoint_s``: how long steps waited for the ``n_checkpoints`` that this start of the run wrote, in all, and
    ``checkpoint_writing_s``: how long writing them took beside the steps. ``skipped_steps``: those whose batch was left
    out because of a NaN or Inf.
    """

    status: str
    steps: int
    tokens: int
    seconds: float
    step_s: float
    time: dict[str, float]
    measured_steps: int
    tokens_per_s: float
    peak_bytes: float | None = None
    resident_bytes: tuple[float, ...] = ()
    ranks: tuple[RankRecord, ...] = ()
    first_loss: float | None = None
    last_loss: float | None = None
    evaluations: tuple[Evaluation, ...] = ()
    prompt: str = ""
    sample: str = ""
    n_parameters: int = 0
    resumed_from: int | None = None
    checkpoint_s: float = 0.0
    checkpoint_writing_s: float = 0.0
    n_checkpoints: int = 0
    skipped_steps: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    finished: str = ""
    trainwright: str = trainwright.__version__
    schema_version: int = SCHEMA_VERSION


def write_run(folder: Path, run: RunRecord) -> Path:
    """Write run.json into the folder; returns its path."""
    path = folder / FILE_NAME
    write_record(path, "run", run)
    return path


def read_run(folder: Path) -> RunRecord:
    """Read the run that the folder holds."""
    path = folder / FILE_NAME
    fields = read_record(path, "run", SCHEMA_VERSION)
    evaluations = tuple(from_fields(path, Evaluation, e) for e in fields.pop("evaluations", ()))
    ranks = tuple(from_fields(path, RankRecord, r) for r in fields.pop("ranks", ()))
    tuples = {key: tuple(fields.pop(key, ())) for key in ("resident_bytes", "skipped_steps", "notes")}
    run: RunRecord = from_fields(path, RunRecord, {**fields, **tuples, "evaluations": evaluations, "ranks": ranks})
    return run
