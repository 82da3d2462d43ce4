"""The learning rate of each step: a linear warm-up, then a shape; all of it a function of the step and of past checks.

Nothing else is remembered, so that a run that goes on after a kill has the same rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainwright.jobs.job import RateSchedule

OPEN_ENDED_WARMUP = 100
"""Warm-up steps of a run without a set length (one that stops when it stops improving)."""

STEP_SHARES = (0.5, 0.75)
"""Where the step schedule divides the rate by ten (He et al., arXiv:1512.03385, section 4.2, as shares of the run)."""

CYCLE_UP_SHARE, CYCLE_START, CYCLE_END = 0.3, 1 / 25, 1e-4
"""One-cycle: share of the steps that rise, and where it begins and ends, of the peak (arXiv:1708.07120; as torch)."""

RANGE_DECADES = 6
"""A range test begins so many powers of ten below the peak."""

SWING = 1.1
"""A held-out loss so many times the lowest before it has swung, or diverges."""


def rate_at(step: int, n_steps: int | None, peak: float, schedule: RateSchedule) -> float:
    """Learning rate of the step (the first is 0) in a run of ``n_steps``; None: open-ended, constant after warm-up.

    Cosine: floor + (peak - floor) (1 + cos(pi x)) / 2 with x from 0 to 1 after the warm-up (Loshchilov and Hutter,
    arXiv:1608.03983); linear: peak + (floor - peak) x; step: a tenth from each of STEP_SHARES of the run on;
    one-cycle: cosine up, then down; range: grows by the same factor each step up to the peak (Smith, arXiv:1506.01186).
    Constant, plateau and trial stay at the peak; what the last two cut is counted by ``n_cuts``.

    >>> from trainwright.jobs.job import RateSchedule
    >>> cosine = RateSchedule(name="cosine", warmup_share=0.1, final_share=0.1)
    >>> [round(rate_at(step, 100, 1.0, cosine), 3) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.542, 0.1]
    >>> steps = RateSchedule(name="step", warmup_share=0.0)
    >>> [round(rate_at(step, 100, 1.0, steps), 3) for step in (0, 49, 50, 75)]
    [1.0, 1.0, 0.1, 0.01]
    >>> cycle = RateSchedule(name="one-cycle")
    >>> [round(rate_at(step, 101, 1.0, cycle), 4) for step in (0, 15, 30, 65, 100)]
    [0.04, 0.52, 1.0, 0.5, 0.0001]
    """
    if n_steps is not None and schedule.name == "range":
        return float(peak * 10.0 ** (-RANGE_DECADES * (1 - step / max(n_steps - 1, 1))))
    if n_steps is not None and schedule.name == "one-cycle":
        return peak * _cycle(step / max(n_steps - 1, 1))
    n_warmup = OPEN_ENDED_WARMUP if n_steps is None else round(schedule.warmup_share * n_steps)
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    if n_steps is None or schedule.name in ("constant", "plateau", "trial"):
        return peak
    if schedule.name == "step":
        return peak * 0.1 ** sum(step >= share * n_steps for share in STEP_SHARES)
    x = min((step - n_warmup) / max(n_steps - n_warmup - 1, 1), 1.0)
    floor = peak * schedule.final_share
    if schedule.name == "linear":
        return peak + (floor - peak) * x
    return _cosine(peak, floor, x)


def _cosine(begin: float, end: float, x: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * x)) / 2


def _cycle(x: float) -> float:
    if x <= CYCLE_UP_SHARE:
        return _cosine(CYCLE_START, 1.0, x / CYCLE_UP_SHARE)
    return _cosine(1.0, CYCLE_END, min((x - CYCLE_UP_SHARE) / (1 - CYCLE_UP_SHARE), 1.0))


def n_cuts(losses: Sequence[float], schedule: RateSchedule) -> int:
    """How often the rate was multiplied by ``factor``, by the loss of the first step and of all checks since.

    Plateau: after ``patience`` checks none of which was the lowest. Trial, as the notes have it: start large, watch,
    and cut when a check swings above SWING times the lowest before it.

    >>> from trainwright.jobs.job import RateSchedule
    >>> n_cuts([2.3, 1.0, 1.1, 1.05, 0.9, 0.95, 0.91], RateSchedule(name="plateau", patience=2))
    2
    >>> n_cuts([2.3, 9.0, 2.0, 1.0, 1.05, 1.2], RateSchedule(name="trial"))
    2
    """
    if schedule.name not in ("plateau", "trial") or not losses:
        return 0
    lowest, waited, cuts = losses[0], 0, 0
    for loss in losses[1:]:
        waited = 0 if loss < lowest else waited + 1
        swung = loss > SWING * lowest
        if swung if schedule.name == "trial" else waited == schedule.patience:
            cuts, waited = cuts + 1, 0
            lowest = loss if schedule.name == "trial" else lowest
        lowest = min(lowest, loss)
    return cuts
