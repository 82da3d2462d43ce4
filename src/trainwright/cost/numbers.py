"""The larger, the smaller, one or the other: of arrays, or of two plain numbers without NumPy's microsecond."""

from __future__ import annotations

import numpy as np

from trainwright.units import Number


def larger(one: Number, other: Number) -> Number:
    """``np.maximum``.

    >>> larger(1.0, 2.0), larger(np.array([1.0, 3.0]), 2.0).tolist()
    (2.0, [2.0, 3.0])
    """
    if isinstance(one, float) and isinstance(other, float):
        return one if one > other else other
    found: Number = np.maximum(one, other)
    return found


def smaller(one: Number, other: Number) -> Number:
    """``np.minimum``.

    >>> smaller(1.0, 2.0)
    1.0
    """
    if isinstance(one, float) and isinstance(other, float):
        return one if one < other else other
    found: Number = np.minimum(one, other)
    return found


def either(condition: Number | bool, one: Number, other: Number) -> Number:
    """``np.where``.

    >>> either(True, 1.0, 2.0), either(np.array([True, False]), 1.0, 2.0).tolist()
    (1.0, [1.0, 2.0])
    """
    if isinstance(condition, bool):
        return one if condition else other
    found: Number = np.where(condition, one, other)
    return found


def anywhere(condition: Number | bool) -> bool:
    """``np.any``.

    >>> anywhere(True), anywhere(np.array([0.0, 2.0])), anywhere(0.0)
    (True, True, False)
    """
    return bool(condition) if isinstance(condition, float | bool) else bool(np.any(condition))
