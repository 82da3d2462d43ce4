"""Short trainings that show which learning rate and which batch suit a job; nothing of them is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from trainwright.errors import InvalidInputError, NumericsError
from trainwright.jobs.job import Job, RateSchedule, Stopping
from trainwright.jobs.store import job_to_dict
from trainwright.records.plan import PlanRecord
from trainwright.records.trials import NoiseScale, RateCurve
from trainwright.runtime.loss import loss_sum
from trainwright.runtime.model import logits_of
from trainwright.runtime.place import Place, use_threads
from trainwright.train.loop import one_step
from trainwright.train.rates import SWING
from trainwright.train.session import Session
from trainwright.train.work import open_session

DIVERGED = 4.0
"""A range test ends when the smoothed loss is so many times its lowest (Smith, arXiv:1506.01186)."""
BELOW_LOWEST = 10.0
"""The rate that a range test proposes is the one of the lowest loss, divided by this: there it already turns."""
SMOOTHING = 0.8
FALLEN = 0.9
"""A rate that is right brings the smoothed loss below this share of the first within a trial."""
N_PARTS = 8
"""Small batches that a noise scale compares with the whole one, at most."""

Open = Callable[[Job], Session]


def opener(folder: Path, plan: PlanRecord) -> Open:
    """Opens a fresh session of the plan with another job: same data, same first weights, one process."""
    use_threads(plan.chosen.threads_per_process)
    strategy = {**plan.chosen.strategy, "dp": 1}
    chosen = replace(plan.chosen, strategy=strategy, n_processes=1)
    place = Place(n_threads=plan.chosen.threads_per_process)

    def open_(job: Job) -> Session:
        session = open_session(folder, replace(plan, job=job_to_dict(job), chosen=chosen), place, lambda *_: None)
        session.sync.begin()
        return session

    return open_


def range_test(open_: Open, job: Job, n_steps: int, highest: float) -> RateCurve:
    """The loss while the rate grows by the same factor each step, until it diverges."""
    curve = _tried(open_, _job_at(job, highest, n_steps, "range"), DIVERGED)
    smooth = smoothed(curve.losses)
    lowest = min(range(len(smooth)), key=lambda i: smooth[i])
    return replace(curve, proposed=curve.rates[lowest] / BELOW_LOWEST)


def start_large(open_: Open, job: Job, n_steps: int, highest: float) -> tuple[RateCurve, ...]:
    """As the notes have it: begin with a large rate, watch the loss, divide by ten when it swings or diverges.

    Each rate begins with fresh weights; the last curve is of the first rate that was calm. At most eight are tried.
    """
    curves: list[RateCurve] = []
    for power in range(8):
        rate = highest * 10.0**-power
        curve = _tried(open_, _job_at(job, rate, n_steps, "constant"), DIVERGED)
        calm = len(curve.losses) == n_steps and is_calm(curve.losses)
        curves.append(replace(curve, proposed=rate if calm else None))
        if calm:
            break
    return tuple(curves)


def is_calm(losses: Sequence[float]) -> bool:
    """Whether a loss fell by a tenth, and at its end is not above SWING times its lowest (both smoothed).

    >>> is_calm([2.3, 2.0, 1.7, 1.5, 1.4]), is_calm([2.3, 1.0, 4.0, 9.0, 9.0]), is_calm([2.3, 2.3, 2.4, 2.3])
    (True, False, False)
    """
    smooth = smoothed(losses)
    return smooth[-1] < FALLEN * losses[0] and smooth[-1] <= SWING * min(smooth)


def smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential mean, corrected for its beginning.

    >>> [round(x, 2) for x in smoothed([1.0, 0.0])]
    [1.0, 0.44]
    """
    total, weight, made = 0.0, 0.0, []
    for loss in losses:
        total, weight = SMOOTHING * total + (1 - SMOOTHING) * loss, SMOOTHING * weight + 1 - SMOOTHING
        made.append(total / weight)
    return made


def _job_at(job: Job, rate: float, n_steps: int, schedule: str) -> Job:
    return replace(
        job,
        optimizer=replace(job.optimizer, learning_rate=rate),
        schedule=RateSchedule(name=schedule, warmup_share=0.0),  # type: ignore[arg-type]  # two of its names
        stopping=Stopping(steps=n_steps),
    )


def _tried(open_: Open, job: Job, limit: float) -> RateCurve:
    session = open_(job)
    rates, losses = [], []
    assert session.n_steps is not None
    while session.step < session.n_steps:
        try:
            record = one_step(session)
        except NumericsError:
            break
        session.step += 1
        if record is None:
            break
        rates.append(record.learning_rate)
        losses.append(record.loss)
        smooth = smoothed(losses)
        if smooth[-1] > limit * min(smooth):
            break
    return RateCurve(rates=tuple(rates), losses=tuple(losses))


def noise_scale(open_: Open, job: Job, n_steps: int, rate: float) -> NoiseScale:
    """The gradient's noise over some steps of training at the rate: McCandlish et al., arXiv:1812.06162, appendix A.

    With the gradient g of a batch B and those of its parts of b samples: |G|^2 = (B |g_B|^2 - b |g_b|^2) / (B - b), and
    the trace of the covariance S = (|g_b|^2 - |g_B|^2) / (1/b - 1/B); the simple noise scale is mean S / mean |G|^2.
    """
    session = open_(_job_at(job, rate, n_steps, "constant"))
    n_rows = job.global_batch
    n_parts = max(k for k in range(1, min(N_PARTS, n_rows) + 1) if n_rows % k == 0)
    if n_parts == 1:
        return NoiseScale(samples=None, of_batch=n_rows, n_steps=0)
    small = n_rows // n_parts
    squares, traces = 0.0, 0.0
    for _ in range(n_steps):
        part, whole = _squared_norms(session, n_parts)
        squares += (n_rows * whole - small * part) / (n_rows - small)
        traces += (part - whole) / (1 / small - 1 / n_rows)
        if one_step(session) is None:
            break
        session.step += 1
    found = traces / squares if squares > 0 else None
    return NoiseScale(samples=found, of_batch=n_rows, n_steps=n_steps)


def _squared_norms(session: Session, n_parts: int) -> tuple[float, float]:
    """Mean |g|^2 of the parts of the next batch, and |g|^2 of the whole batch."""
    model = session.sharded.model
    inputs, targets = session.batch(session.step)
    if not isinstance(inputs, Tensor):
        raise InvalidInputError("the noise of made-up inputs says nothing of data", hint="give [data] text or images")
    parameters = [p for p in model.parameters() if p.requires_grad]
    total: list[Tensor] = [torch.zeros_like(p) for p in parameters]
    squares = 0.0
    for x, y in zip(inputs.chunk(n_parts), targets.chunk(n_parts), strict=True):
        loss = loss_sum(logits_of(model, x), y) * (n_parts / session.tokens_per_step)
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        grads = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
        squares += sum(float(g.square().sum()) for g in grads)
        for mean, grad in zip(total, grads, strict=True):
            mean.add_(grad, alpha=1 / n_parts)
    return squares / n_parts, sum(float(g.square().sum()) for g in total)
