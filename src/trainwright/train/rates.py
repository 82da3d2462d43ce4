"""The learning rate of each step: a linear warm-up, then a shape down to a floor."""

from __future__ import annotations

import math

from trainwright.jobs.job import RateSchedule

OPEN_ENDED_WARMUP = 100
"""Warm-up steps of a run without a set length (one that stops when it stops improving)."""

STEP_SHARES = (0.5, 0.75)
"""Where the step schedule divides the rate by ten (He et al., arXiv:1512.03385, section 4.2, as shares of the run)."""


def rate_at(step: int, n_steps: int | None, peak: float, schedule: RateSchedule) -> float:
    """Learning rate of the step (the first is 0) in a run of ``n_steps``; None: open-ended, constant after warm-up.

    Cosine: floor + (peak - floor) (1 + cos(pi x)) / 2 with x from 0 to 1 after the warm-up (Loshchilov and Hutter,
    arXiv:1608.03983); linear: peak + (floor - peak) x; step: a tenth from each of STEP_SHARES of the run on.
    One-cycle (Smith, arXiv:1708.07120) is cosine with warmup_share = 0.3 and final_share = 0.

    >>> from trainwright.jobs.job import RateSchedule
    >>> cosine = RateSchedule(name="cosine", warmup_share=0.1, final_share=0.1)
    >>> [round(rate_at(step, 100, 1.0, cosine), 3) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.542, 0.1]
    >>> steps = RateSchedule(name="step", warmup_share=0.0)
    >>> [round(rate_at(step, 100, 1.0, steps), 3) for step in (0, 49, 50, 75)]
    [1.0, 1.0, 0.1, 0.01]
    """
    n_warmup = OPEN_ENDED_WARMUP if n_steps is None else round(schedule.warmup_share * n_steps)
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    if n_steps is None or schedule.name == "constant":
        return peak
    if schedule.name == "step":
        return peak * 0.1 ** sum(step >= share * n_steps for share in STEP_SHARES)
    x = min((step - n_warmup) / max(n_steps - n_warmup - 1, 1), 1.0)
    floor = peak * schedule.final_share
    if schedule.name == "linear":
        return peak + (floor - peak) * x
    return floor + (peak - floor) * (1 + math.cos(math.pi * x)) / 2
