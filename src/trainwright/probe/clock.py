"""Time a piece of work until its median is steady, or the time for it is spent."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one call. ``calm_s``: the mean of the fastest fifth, which other work on the machine disturbs least;
    ``spread``: the median absolute deviation over the median.
    """

    calm_s: float
    median_s: float
    spread: float
    n_repeats: int


def cpu_done() -> None:
    """Nothing to wait for: a CPU kernel has ended when its call returns."""


@dataclass(slots=True)
class Clock:
    """How to time on this device. ``meet`` waits for the other processes, so that all measure at once; ``done`` waits
    for the device. ``spreads`` collects the spread of everything timed.
    """

    meet: Callable[[], None] = cpu_done
    done: Callable[[], None] = cpu_done
    budget_s: float = 0.05
    least_repeats: int = 5
    spreads: list[float] = field(default_factory=list)

    def time(self, work: Callable[[], object], *, budget_s: float | None = None) -> Timing:
        """Warm up once, then repeat until the median is known to 2 % or the budget is spent.

        Short work is repeated inside one reading, so that a reading lasts at least 50 us.
        """
        self.meet()
        deadline = time.perf_counter() + (self.budget_s if budget_s is None else budget_s)
        once_s = self._read(work, 1)
        inner = max(1, min(1000, int(50e-6 / max(once_s, 1e-7))))
        readings: list[float] = []
        while len(readings) < self.least_repeats or not _is_steady(readings):
            readings.append(self._read(work, inner) / inner)
            if len(readings) >= 3 and time.perf_counter() > deadline:
                break
        timing = _timing(readings)
        self.spreads.append(timing.spread)
        return timing

    def _read(self, work: Callable[[], object], times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            work()
        self.done()
        return time.perf_counter() - start


def _timing(readings: list[float]) -> Timing:
    median = statistics.median(readings)
    deviation = statistics.median(abs(reading - median) for reading in readings)
    calm = statistics.fmean(sorted(readings)[: (len(readings) + 4) // 5])
    return Timing(calm_s=calm, median_s=median, spread=deviation / median, n_repeats=len(readings))


def _is_steady(readings: list[float]) -> bool:
    """Whether the median's own error (1.25 standard deviations over root n) is under 2 %."""
    timing = _timing(readings)
    return float(1.25 * 1.48 * timing.spread / len(readings) ** 0.5) < 0.02
