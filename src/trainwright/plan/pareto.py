"""The Pareto front: candidates that nothing beats in time, money and memory at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
_FEW = 5_000


def front(time: Column, money: Column, memory: Column) -> NDArray[np.int64]:
    """Indices of the candidates that no other is at least as good as in all three and better in one; by time.

    Of equal candidates one stays. Candidates are swept by time, then money and memory: the first left is on the front,
    and all that are neither cheaper nor smaller fall out with it.

    >>> front(np.array([1.0, 2.0, 2.0]), np.array([3.0, 1.0, 1.0]), np.array([1.0, 1.0, 2.0])).tolist()
    [0, 1]
    """
    left = _thinned(time, money, memory)
    order = left[np.lexsort((memory[left], money[left], time[left]))]
    money, memory = money[order], memory[order]
    alive = np.arange(len(order))
    kept: list[int] = []
    while alive.size:
        best = alive[0]
        kept.append(int(best))
        alive = alive[(money[alive] < money[best]) | (memory[alive] < memory[best])]
    return order[np.array(kept, dtype=np.int64)]


def _thinned(time: Column, money: Column, memory: Column) -> NDArray[np.int64]:
    """The candidates that a few good ones do not beat: most of a large table falls out before it is sorted."""
    left = np.arange(len(time))
    for share in (0.5, 0.2, 0.8, 0.05, 0.95, 0.35, 0.65):
        if len(left) < _FEW:
            break
        merit = time[left] ** share * memory[left] ** (1.0 - share)
        best = left[np.argmin(merit)]
        as_good = (time[left] < time[best]) | (money[left] < money[best]) | (memory[left] < memory[best])
        as_good |= left == best
        left = left[as_good]
    return left
