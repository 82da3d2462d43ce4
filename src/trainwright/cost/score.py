"""How wrong predictions are: errors, ranking and regret within groups that differ only in strategy, coverage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SAME = 0.02
"""Measured times nearer than this are one and the same (SOURCES: repeats on one machine differ by 1 to 2 %)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Errors as shares of what was measured. None where no rows tell: no group has two strategies, no interval."""

    n_rows: int
    mape: float
    median: float
    bias: float
    within_10: float
    worst: float
    coverage: float | None = None
    ranking: float | None = None
    regret: float | None = None


def score(predicted: Array, measured: Array, groups: Sequence[str], bounds: tuple[Array, Array] | None = None) -> Score:
    """The score of some rows; ``bounds`` are the low and high end of each prediction's interval.

    >>> s = score(np.array([1.1, 2.0]), np.array([1.0, 2.0]), ["a", "a"])
    >>> round(s.mape, 3), s.ranking, s.regret
    (0.05, 1.0, 0.0)
    """
    ratio = predicted / measured
    error = np.abs(ratio - 1.0)
    ranking, regret = _groups(predicted, measured, groups)
    inside = None if bounds is None else float(np.mean((bounds[0] <= measured) & (measured <= bounds[1])))
    return Score(
        n_rows=len(measured),
        mape=float(np.mean(error)),
        median=float(np.median(error)),
        bias=float(np.median(ratio) - 1.0),
        within_10=float(np.mean(error <= 0.1)),
        worst=float(np.max(error)),
        coverage=inside,
        ranking=ranking,
        regret=regret,
    )


def _groups(predicted: Array, measured: Array, groups: Sequence[str]) -> tuple[float | None, float | None]:
    """(pairs ranked right, mean loss of the predicted best against the real best) within groups."""
    by_group: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        by_group[group].append(index)
    right = pairs = 0
    losses = []
    for rows in by_group.values():
        if len(rows) < 2:
            continue
        time, guess = measured[rows], predicted[rows]
        losses.append(float(time[np.argmin(guess)] / np.min(time) - 1.0))
        first, second = np.triu_indices(len(rows), 1)
        apart = np.abs(np.log(time[first] / time[second])) > SAME
        agree = (time[first] < time[second]) == (guess[first] < guess[second])
        pairs, right = pairs + int(np.sum(apart)), right + int(np.sum(agree & apart))
    return (right / pairs if pairs else None), (float(np.mean(losses)) if losses else None)
