"""What short trainings showed of a job: loss by learning rate, the noise of its gradient, and what fits the memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCurve:
    """Loss of each step with the rate of the step; ``proposed`` is the rate that came of it, None where none did."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    proposed: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseScale:
    """The simple noise scale in samples, measured over some steps with batches of ``of_batch``.

    None where it could not be told: one sample a batch, or nothing but noise.
    """

    samples: float | None
    of_batch: int
    n_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """A range test, the rates tried from large to small, the noise scale, and the largest batch in memory at once."""

    name: str
    range_curve: RateCurve
    curves: tuple[RateCurve, ...]
    noise: NoiseScale
    most_at_once: int | None
    memory_bytes: float
    unit: str
