"""A Size from what a quantity was at a few batch and sequence sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trainwright.models.spec import Size

Point = tuple[int, int]
"""(batch, seq) of one trace."""


def points(batch: int, seq: int | None) -> tuple[Point, ...]:
    """Where to trace so that every term of a Size is determined; the first is the reference.

    >>> points(2, None), points(2, 64)
    (((2, 1), (4, 1)), ((2, 64), (4, 64), (2, 32), (4, 32), (2, 16)))
    """
    if seq is None:
        return (batch, 1), (2 * batch, 1)
    less, least = (seq // 2, seq // 4) if seq >= 16 else (2 * seq, 3 * seq)
    return (batch, seq), (2 * batch, seq), (batch, less), (2 * batch, less), (batch, least)


def size_of(at: Sequence[Point], values: Sequence[float]) -> Size:
    """The Size through these values at the points of ``points``: solved, not fitted.

    >>> size_of(points(2, 64), [2 * 64 * 10.0, 4 * 64 * 10.0, 2 * 32 * 10.0, 4 * 32 * 10.0, 2 * 16 * 10.0])
    Size(fixed=0.0, position=0.0, sample=0.0, token=10.0, pair=0.0)
    """
    scale = max(map(abs, values), default=0.0)
    if scale == 0.0:
        return Size()
    (batch, seq), slope = at[0], (values[1] - values[0]) / (at[1][0] - at[0][0])
    shared = values[0] - batch * slope
    if len(at) == 2:
        return Size(fixed=_clean(shared, scale), sample=_clean(slope, scale))
    slope_less = (values[3] - values[2]) / (at[3][0] - at[2][0])
    shared_less = values[2] - at[2][0] * slope_less
    less, least = at[2][1], at[4][1]
    position = (shared - shared_less) / (seq - less)
    fixed = shared - position * seq
    slope_least = (values[4] - fixed - position * least) / batch
    first = (slope - slope_less) / (seq - less)
    second = (slope_less - slope_least) / (less - least)
    pair = (first - second) / (seq - least)
    token = first - pair * (seq + less)
    sample = slope - token * seq - pair * seq * seq
    return Size(
        fixed=_clean(fixed, scale),
        position=_clean(position, scale / seq),
        sample=_clean(sample, scale / batch),
        token=_clean(token, scale / batch / seq),
        pair=_clean(pair, scale / batch / seq / seq),
    )


def extended(at: Sequence[Point], amounts: Sequence[Counter[str]], to: Sequence[Point]) -> list[Counter[str]]:
    """What amounts at the traced points come to at others.

    >>> extended(points(1, 16), [Counter(kernels=each) for each in (32, 32, 16, 16, 8)], [(1, 1024)])
    [Counter({'kernels': 2048.0})]
    """
    sizes = {
        key: size_of(at, [float(amount[key]) for amount in amounts])
        for key in dict.fromkeys(key for amount in amounts for key in amount)
    }
    return [Counter({name: size.at(*point) for name, size in sizes.items()}) for point in to]


def _clean(value: float, scale: float) -> float:
    """The value, rounded away where it is only rounding."""
    if abs(value) < 1e-9 * scale:
        return 0.0
    return tidy(value)


def tidy(value: float) -> float:
    """The whole number that this is but for rounding, or the value itself."""
    nearest = round(value)
    return float(nearest) if abs(value - nearest) < 1e-9 * max(abs(value), 1.0) else value
