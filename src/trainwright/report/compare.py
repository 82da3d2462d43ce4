"""Predicted beside measured, line by line: the values behind the terminal table, the page and the JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainwright.records.plan import Candidate
from trainwright.records.run import RunRecord

Unit = Literal["seconds", "bytes", "per_second"]

EXCHANGES = {
    "data parallel": ("dp_communication", ("dp ", "agreement")),
    "tensor parallel": ("tp_communication", ("tp ",)),
    "context parallel": ("cp_communication", ("cp ",)),
    "expert parallel": ("ep_communication", ("ep ",)),
    "pipeline": ("pp_communication", ("pp ",)),
}
"""What processes exchange: the predicted part, and what the names of the measured collectives begin with."""

MEASURED_PARTS = {
    "forward": ("forward",),
    "backward": ("backward", "recompute"),
    "optimizer": ("optimizer", "offload"),
    **{name: (predicted,) for name, (predicted, _) in EXCHANGES.items()},
    "bubble": ("bubble",),
    "data": ("data",),
}
"""What a run can time apart, and which predicted parts that holds."""

LEAST_S = 1e-7
"""Seconds of a step below which a part is not told."""

FORWARD_SHARE = 1.0 / 3.0
"""Of head and loss, and of what issuing kernels takes, a third is forward: backward has two for every forward one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure, predicted and measured.

    ``is_part`` when it belongs to the step above it; ``is_detail`` when to a part: one of several collectives.
    """

    name: str
    unit: Unit
    predicted: float | None
    measured: float | None
    low: float | None = None
    high: float | None = None
    is_part: bool = False
    is_detail: bool = False

    @property
    def difference_share(self) -> float | None:
        """How far the measurement lies above the prediction, as a share of the measurement."""
        if not self.predicted or not self.measured:
            return None
        return self.predicted / self.measured - 1.0


def predicted_parts(chosen: Candidate) -> dict[str, float]:
    """The predicted seconds, grouped as a run can measure them; together they are the step."""
    parts = {name: sum(chosen.time.get(p, 0.0) for p in inside) for name, inside in MEASURED_PARTS.items()}
    inside = chosen.time.get("head_loss", 0.0) + chosen.time.get("dispatch", 0.0)
    parts["forward"] += FORWARD_SHARE * inside
    parts["backward"] += (1.0 - FORWARD_SHARE) * inside
    parts["other"] = chosen.step_s - sum(parts.values())
    return parts


def measured_parts(run: RunRecord) -> dict[str, float]:
    """The measured seconds in the same groups; together they are the step."""
    groups = dict.fromkeys((*MEASURED_PARTS, "other"), 0.0)
    for name, seconds in run.time.items():
        groups[_group_of(name)] += seconds
    return groups


def _group_of(name: str) -> str:
    for group, (_, begins) in EXCHANGES.items():
        if name.startswith(begins):
            return group
    return name if name in MEASURED_PARTS else "other"


def unit_of(job: Mapping[str, Any]) -> str:
    """What a job's steps are counted in."""
    return "images" if job.get("images") else "samples" if job.get("example") else "tokens"


def compare(chosen: Candidate, run: RunRecord, unit: str = "tokens") -> tuple[Line, ...]:
    """Step time and its parts, peak memory, resident memory, tokens (or images) per second.

    What steps waited for checkpoints is spread over all of them; it is not in the measured step.
    """
    step = Line(
        name="step",
        unit="seconds",
        predicted=chosen.step_s,
        measured=run.step_s,
        low=chosen.step_low_s,
        high=chosen.step_high_s,
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
        *_part_lines(chosen, run),
        *([saving] if run.n_checkpoints else []),
        Line(name="peak memory", unit="bytes", predicted=chosen.peak_bytes, measured=run.peak_bytes),
        Line(name="resident set", unit="bytes", predicted=chosen.resident_bytes, measured=resident),
        Line(name=f"{unit}/s", unit="per_second", predicted=chosen.tokens_per_s, measured=run.tokens_per_s),
    )


def _part_lines(chosen: Candidate, run: RunRecord) -> Iterator[Line]:
    """The parts that either side has; a part of several collectives has a line for each below it."""
    measured = measured_parts(run)
    for name, value in predicted_parts(chosen).items():
        if max(abs(value), measured[name]) <= LEAST_S:
            continue
        begins = EXCHANGES[name][1] if name in EXCHANGES else None
        each = {op: s for op, s in run.time.items() if begins is not None and op.startswith(begins) and s > LEAST_S}
        only = f" ({_said(next(iter(each)))})" if len(each) == 1 else ""
        told = measured[name] if run.time else None
        yield Line(name=name + only, unit="seconds", predicted=value, measured=told, is_part=True)
        if len(each) > 1:
            for op, seconds in each.items():
                yield Line(
                    name=_said(op), unit="seconds", predicted=None, measured=seconds, is_part=True, is_detail=True
                )


def _said(collective: str) -> str:
    """``dp all_reduce`` below its axis, in words.

    >>> _said("dp all_reduce"), _said("pp send_recv"), _said("agreement")
    ('all-reduce', 'send and receive', 'agreement')
    """
    op = collective.partition(" ")[2] or collective
    return "send and receive" if op == "send_recv" else op.replace("_", "-")
