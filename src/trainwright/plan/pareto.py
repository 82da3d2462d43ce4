"""The Pareto front: candidates that nothing beats in time, money and memory at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]


def front(time: Column, money: Column, memory: Column) -> NDArray[np.int64]:
    """Indices of the candidates that no other is at least as good as in all three and better in one; by time.

    Of equal candidates one stays. Candidates are swept by time, then money and memory: the first left is on the front,
    and all that are neither cheaper nor smaller fall out with it.

    >>> front(np.array([1.0, 2.0, 2.0]), np.array([3.0, 1.0, 1.0]), np.array([1.0, 1.0, 2.0])).tolist()
    [0, 1]
    """
    order = np.lexsort((memory, money, time))
    money, memory = money[order], memory[order]
    alive = np.arange(len(order))
    kept: list[int] = []
    while alive.size:
        best = alive[0]
        kept.append(int(best))
        alive = alive[(money[alive] < money[best]) | (memory[alive] < memory[best])]
    return order[np.array(kept, dtype=np.int64)]
