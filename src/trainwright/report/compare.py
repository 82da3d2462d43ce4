"""Predicted beside measured, line by line: the values behind the terminal table, the page and the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainwright.records.plan import Candidate
from trainwright.records.run import RunRecord

Unit = Literal["seconds", "bytes", "per_second"]

MEASURED_PARTS = {
    "forward": ("forward",),
    "backward": ("backward", "recompute"),
    "optimizer": ("optimizer", "offload"),
    "communication": (
        "tp_communication",
        "cp_communication",
        "ep_communication",
        "dp_communication",
        "pp_communication",
        "bubble",
    ),
    "data": ("data",),
}
"""What a run can time apart, and which predicted parts that holds."""

HEAD_FORWARD_SHARE = 1.0 / 3.0
"""Of the head and loss a third is forward: backward does two matmuls for every forward one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure, predicted and measured; ``is_part`` when it belongs to the line above it."""

    name: str
    unit: Unit
    predicted: float | None
    measured: float | None
    low: float | None = None
    high: float | None = None
    is_part: bool = False

    @property
    def difference_share(self) -> float | None:
        """How far the measurement lies above the prediction, as a share of the measurement."""
        if not self.predicted or not self.measured:
            return None
        return self.predicted / self.measured - 1.0


def predicted_parts(chosen: Candidate) -> dict[str, float]:
    """The predicted seconds, grouped as a run can measure them; together they are the step."""
    parts = {name: sum(chosen.time.get(p, 0.0) for p in inside) for name, inside in MEASURED_PARTS.items()}
    head = chosen.time.get("head_loss", 0.0)
    parts["forward"] += HEAD_FORWARD_SHARE * head
    parts["backward"] += (1.0 - HEAD_FORWARD_SHARE) * head
    parts["other"] = chosen.step_s - sum(parts.values())
    return parts


def unit_of(job: Mapping[str, Any]) -> str:
    """What a job's steps are counted in."""
    return "images" if job.get("images") else "tokens"


def compare(chosen: Candidate, run: RunRecord, unit: str = "tokens") -> tuple[Line, ...]:
    """Step time and its parts, peak memory, resident memory, tokens (or images) per second.

    What steps waited for checkpoints is spread over all of them; it is not in the median step.
    """
    predicted = predicted_parts(chosen)
    step = Line(
        name="step",
        unit="seconds",
        predicted=chosen.step_s,
        measured=run.step_s,
        low=chosen.step_low_s,
        high=chosen.step_high_s,
    )
    parts = (
        Line(name=name, unit="seconds", predicted=value, measured=run.time.get(name), is_part=True)
        for name, value in predicted.items()
        if value > 1e-7 or run.time.get(name, 0.0) > 1e-7
    )
    taken = run.steps - (run.resumed_from or 0)
    saving = Line(
        name="checkpoint",
        unit="seconds",
        predicted=None,
        measured=run.checkpoint_s / taken if taken > 0 else None,
        is_part=True,
    )
    resident = max(run.resident_bytes, default=None)
    return (
        step,
        *parts,
        *([saving] if run.n_checkpoints else []),
        Line(name="peak memory", unit="bytes", predicted=chosen.peak_bytes, measured=run.peak_bytes),
        Line(name="resident set", unit="bytes", predicted=chosen.resident_bytes, measured=resident),
        Line(name=f"{unit}/s", unit="per_second", predicted=chosen.tokens_per_s, measured=run.tokens_per_s),
    )
