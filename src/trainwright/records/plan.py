"""plan.json: the decision, as one file that `trainwright train` runs and anyone can edit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainwright
from trainwright.records.store import from_fields, read_record, write_record

SCHEMA_VERSION = 1
FILE_NAME = "plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A strategy and what it would cost: the chosen one, or one that was not.

    ``ideal_s``: seconds that the model's FLOP would take at the devices' peak; over a step's seconds it is the MFU.
    """

    label: str
    strategy: dict[str, Any]
    n_processes: int
    threads_per_process: int
    step_s: float
    step_low_s: float
    step_high_s: float
    peak_bytes: float
    tokens_per_s: float
    time: dict[str, float]
    memory: dict[str, float]
    hidden: dict[str, float] = field(default_factory=dict)
    ideal_s: float | None = None
    resident_bytes: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRecord:
    """Job, machine, strategy and prediction.

    ``job``: the job as jobs.job_to_dict writes it. ``model``: the Hugging Face config the runtime builds, with
    ``model_type``. ``cluster``: name, device, n_devices and where the figures come from. ``device_type``: cpu or cuda.
    ``chosen`` is run; ``others`` were priced too, best first. ``why`` are sentences for people.
    """

    job: dict[str, Any]
    model: dict[str, Any]
    cluster: dict[str, Any]
    device_type: str
    stack: str
    chosen: Candidate
    others: tuple[Candidate, ...] = ()
    why: tuple[str, ...] = ()
    created: str = ""
    trainwright: str = trainwright.__version__
    schema_version: int = SCHEMA_VERSION


def write_plan(folder: Path, plan: PlanRecord) -> Path:
    """Write plan.json into the folder; returns its path."""
    path = folder / FILE_NAME
    write_record(path, "plan", plan)
    return path


def read_plan(path: Path) -> PlanRecord:
    """Read a plan from its file or the folder that holds it."""
    path = path / FILE_NAME if path.is_dir() else path
    fields = read_record(path, "plan", SCHEMA_VERSION)
    chosen = from_fields(path, Candidate, fields.pop("chosen", {}))
    others = tuple(from_fields(path, Candidate, other) for other in fields.pop("others", ()))
    why = tuple(fields.pop("why", ()))
    plan: PlanRecord = from_fields(path, PlanRecord, {**fields, "chosen": chosen, "others": others, "why": why})
    return plan
