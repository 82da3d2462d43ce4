"""Batches made ahead by threads, and how many threads that takes, found by trying.

Threads, not processes: decoding and tensor operations let go of the interpreter, and nothing is copied or pickled. A
batch is a function of its step alone, so that any number of workers gives the same one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Batch = TypeVar("Batch")
CHEAP_SHARE = 0.03
"""Making a batch for less than this share of the step is not worth a thread."""


@dataclass(slots=True, kw_only=True)
class Loader(Generic[Batch]):
    """Gives the batch of any step; with workers, the next ones are begun before they are asked for."""

    make: Callable[[int], Batch]
    n_workers: int = 0
    _pool: ThreadPoolExecutor | None = None
    _begun: dict[int, Future[Batch]] = field(default_factory=dict)

    def take(self, step: int) -> Batch:
        """The batch of the step."""
        if not self.n_workers:
            return self.make(step)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.n_workers)
        for ahead in range(step, step + self.n_workers + 1):
            if ahead not in self._begun:
                self._begun[ahead] = self._pool.submit(self.make, ahead)
        for past in [known for known in self._begun if known < step]:
            self._begun.pop(past).cancel()
        return self._begun.pop(step).result()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How many workers were chosen, and batches a second for each number tried."""

    n_workers: int
    batches_per_s: dict[int, float]


def find_workers(
    make: Callable[[int], object],
    step_s: float,
    n_free: int,
    first_step: int = 0,
    now: Callable[[], float] = time.perf_counter,
) -> Finding:
    """The fewest workers that make a batch in less than ``step_s``, the time the trainer needs for one.

    0 (the trainer makes its own) where that takes hardly any time; else 1, 2, 4 ... up to ``n_free``, the cores that
    compute nothing, each tried for a few batches. Where none keeps up, the fastest. Without a free core one worker is
    tried all the same, but not taken: it would hold up a computing thread by as much as it makes, and more.
    """
    make(first_step)
    begin, _ = now(), make(first_step)
    alone = now() - begin
    rates = {0: 1 / alone}
    if alone < CHEAP_SHARE * step_s:
        return Finding(n_workers=0, batches_per_s=rates)
    if n_free < 1:
        rates[1] = _rate(make, 1, first_step, now)
        return Finding(n_workers=0, batches_per_s=rates)
    number = 1
    while number <= n_free:
        rates[number] = _rate(make, number, first_step, now)
        if rates[number] * step_s >= 1:
            return Finding(n_workers=number, batches_per_s=rates)
        number *= 2
    return Finding(n_workers=max(rates, key=lambda n: rates[n]), batches_per_s=rates)


def _rate(make: Callable[[int], object], n_workers: int, first_step: int, now: Callable[[], float]) -> float:
    n_batches = 2 * n_workers
    with ThreadPoolExecutor(n_workers) as pool:
        begin = now()
        list(pool.map(make, range(first_step, first_step + n_batches)))
    return n_batches / (now() - begin)
