"""Time a piece of work until its median is steady, or the time for it is spent; readings that were disturbed do not
count.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

PATIENCE = 4.0
"""How many times the budget a reading without disturbance is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one call. ``calm_s``: the mean of undisturbed readings, each up to FREAK medians, since a step adds up
    hundreds of calls and their medians do not; where more than DISTURBED_SHARE were disturbed, the mean of the fastest
    fifth, which other work on the machine touches least;
    ``spread``: the median absolute deviation over the median; ``disturbed_share``: of the readings.
    """

    calm_s: float
    median_s: float
    spread: float
    disturbed_share: float
    n_repeats: int


DISTURBED_SHARE = 0.2
FREAK = 1.5


def cpu_done() -> None:
    """Nothing to wait for: a CPU kernel has ended when its call returns."""


@dataclass(slots=True)
class Clock:
    """How to time on this device. ``meet`` waits for the other processes, so that all measure at once; ``done`` waits
    for the device. ``timings`` keeps everything timed. ``hurry_after_s``: on a machine so busy that it takes longer,
    what is left gets three readings each, disturbed or not.
    """

    meet: Callable[[], None] = cpu_done
    done: Callable[[], None] = cpu_done
    budget_s: float = 0.05
    least_repeats: int = 5
    rounds: int = 5
    hurry_after_s: float = float("inf")
    begun: float = field(default_factory=time.perf_counter)
    timings: list[Timing] = field(default_factory=list)

    def time(self, work: Callable[[], object]) -> Timing:
        """Warm up once, then repeat until the median is known to 2 % or the budget is spent.

        Short work is repeated inside one reading, so that a reading lasts at least 50 us. A reading in which the
        kernel took the processor from this process is disturbed; without three clean ones, PATIENCE budgets are spent.
        """
        self.meet()
        start = time.perf_counter()
        once_s, _ = self._read(work, 1)
        inner = max(1, min(1000, int(50e-6 / max(once_s, 1e-7))))
        clean: list[float] = []
        disturbed: list[float] = []
        while len(clean) < self.least_repeats or not _is_steady(clean):
            seconds, is_clean = self._read(work, inner)
            (clean if is_clean else disturbed).append(seconds / inner)
            if self._is_enough(start, len(clean), len(disturbed)):
                break
        timing = _timing(clean or disturbed, len(disturbed))
        self.timings.append(timing)
        return timing

    def in_turn(self, works: Sequence[Callable[[], object]]) -> list[Timing]:
        """Time every one of them, a few calls each, then all again, ``rounds`` times.

        Back to back a kernel finds its own code, and in a step it comes a few times among others, 10 to 40 % slower
        where caches are small. So a reading is BURST calls (one, where a call is long), and long work leaves when its
        budget is spent. A GPU's kernels do not wait for their code: there each is timed by itself.
        """
        if self.done is not cpu_done:
            return [self.time(work) for work in works]
        self.meet()
        turns = []
        for work in works:
            work()
            once_s, _ = self._read(work, 1)
            turns.append(_Turn(work=work, budget_s=self.budget_s, n_calls=_n_calls(once_s)))
        for n in range(self.rounds):
            if n and time.perf_counter() - self.begun > self.hurry_after_s:
                break
            for turn in turns:
                if not turn.is_done:
                    turn.take(*self._read(turn.work, turn.n_calls))
        timings = [_timing(turn.clean or turn.disturbed, len(turn.disturbed)) for turn in turns]
        self.timings += timings
        return timings

    def after(self, before: Callable[[], object], work: Callable[[], object]) -> float:
        """Median seconds of one call, each time after other work, whose seconds do not count."""
        self.meet()
        work()
        readings = []
        for _ in range(READINGS_AFTER):
            before()
            self.done()
            readings.append(self._read(work, 1)[0])
        return statistics.median(readings)

    def _is_enough(self, start: float, n_clean: int, n_disturbed: int) -> bool:
        now = time.perf_counter()
        if now - self.begun > self.hurry_after_s:
            return n_clean + n_disturbed >= 3
        return now - start > self.budget_s * (1.0 if n_clean >= 3 else PATIENCE)

    def _read(self, work: Callable[[], object], times: int) -> tuple[float, bool]:
        """(seconds, whether nothing took the processor away meanwhile)."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        start = time.perf_counter()
        for _ in range(times):
            work()
        self.done()
        seconds = time.perf_counter() - start
        return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw == before


READINGS_AFTER = 9
"""How often work is timed that is called once in a step, among much else."""
BURST = 4
"""Calls in one reading of work that is timed in turn with other work: the first finds its code gone from the caches, as
in a step that does the same in each of a few layers. Over 29 ops of four models, each timed inside its step on two
cores of a Xeon 6, readings of 1, 3, 4, 6 and 12 calls lay +40, +10, +1, -9 and -13 % off."""
LONG_S, LONGER_S = 0.25e-3, 1e-3
"""What takes longer is called twice in a reading, and once: its code is little of it."""


def _n_calls(once_s: float) -> int:
    """Calls in one reading of work that takes so long."""
    if once_s > LONGER_S:
        return 1
    return 2 if once_s > LONG_S else BURST


@dataclass(slots=True)
class _Turn:
    """Work timed in turn with other work, and its readings so far."""

    work: Callable[[], object]
    budget_s: float
    n_calls: int
    spent_s: float = 0.0
    clean: list[float] = field(default_factory=list)
    disturbed: list[float] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return self.spent_s > self.budget_s and len(self.clean) >= 3

    def take(self, seconds: float, is_clean: bool) -> None:
        (self.clean if is_clean else self.disturbed).append(seconds / self.n_calls)
        self.spent_s += seconds


def _timing(readings: list[float], n_disturbed: int) -> Timing:
    median = statistics.median(readings)
    deviation = statistics.median(abs(reading - median) for reading in readings)
    fastest = statistics.fmean(sorted(readings)[: (len(readings) + 4) // 5])
    mean = statistics.fmean(min(reading, FREAK * median) for reading in readings)
    calm = mean if n_disturbed < DISTURBED_SHARE * (len(readings) + n_disturbed) else fastest
    return Timing(
        calm_s=calm,
        median_s=median,
        spread=deviation / median,
        disturbed_share=n_disturbed / max(n_disturbed + len(readings), 1),
        n_repeats=len(readings),
    )


def _is_steady(readings: list[float]) -> bool:
    """Whether the median's own error (1.25 standard deviations over root n) is under 2 %."""
    timing = _timing(readings, 0)
    return float(1.25 * 1.48 * timing.spread / len(readings) ** 0.5) < 0.02
