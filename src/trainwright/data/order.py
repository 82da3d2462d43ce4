"""Which tokens a step sees: a function of the seed and the step alone, whatever the mesh or the restarts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Windows of ``seq`` + 1 tokens of a stream, shuffled anew in each epoch.

    An epoch cuts the stream into windows ``seq`` apart, beginning at an offset of its own, and visits them in an order
    of its own; both come from (seed, epoch). Step s sees samples s * global_batch onwards.
    """

    n_tokens: int
    seq: int
    global_batch: int
    seed: int

    @property
    def per_epoch(self) -> int:
        """Windows in one epoch: one fewer than fit, to leave room for the offset."""
        return max((self.n_tokens - 1) // self.seq - 1, 1)

    def starts(self, step: int) -> NDArray[np.int64]:
        """First token of each of the step's ``global_batch`` windows.

        >>> order = Order(n_tokens=100, seq=10, global_batch=4, seed=1)
        >>> bool((order.starts(7) == order.starts(7)).all()), order.starts(0).shape
        (True, (4,))
        """
        samples = np.arange(step * self.global_batch, (step + 1) * self.global_batch)
        epochs, places = np.divmod(samples, self.per_epoch)
        if epochs[0] == epochs[-1]:
            return _epoch(self, int(epochs[0]))[places]
        starts = np.empty(self.global_batch, dtype=np.int64)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            starts[inside] = _epoch(self, int(epoch))[places[inside]]
        return starts


@lru_cache(maxsize=2)
def _epoch(order: Order, epoch: int) -> NDArray[np.int64]:
    """First token of every window in the order of one epoch; kept, since many steps ask for the same."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([order.seed, epoch])))
    room = min(order.n_tokens - 1 - order.per_epoch * order.seq, order.seq - 1)
    offset = int(generator.integers(0, room + 1))
    return np.asarray(generator.permutation(order.per_epoch) * order.seq + offset, dtype=np.int64)


def windows(stream: NDArray[np.integer[Any]], starts: NDArray[np.int64], seq: int) -> NDArray[np.int64]:
    """Rows of seq + 1 tokens, [len(starts), seq + 1]: inputs are [:, :-1], what comes next is [:, 1:]."""
    return np.asarray(stream[starts[:, None] + np.arange(seq + 1)], dtype=np.int64)


def held_out_starts(n_tokens: int, seq: int, at_most: int = 256) -> NDArray[np.int64]:
    """Windows that check a model: side by side over the held-out stream, evenly thinned to ``at_most``.

    >>> held_out_starts(41, 10)
    array([ 0, 10, 20, 30])
    """
    n_windows = (n_tokens - 1) // seq
    if n_windows < 1:
        return np.empty(0, dtype=np.int64)
    return np.unique(np.linspace(0, n_windows - 1, min(n_windows, at_most)).astype(np.int64)) * seq
