"""How sure a prediction is: quantiles of what published measurements missed it by, by regime.

Split conformal: the residuals are of rows whose source took no part in the fit (tools/fit_corrections.py leaves each
source out in turn), so a measurement from a new source should fall inside as often as the confidence says.
Source: Vovk et al., "Algorithmic learning in a random world", 2005; Lei et al., JASA 113(523), 2018.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.estimate import Interval
from trainwright.units import Number

Array = NDArray[Any]
CONFIDENCE = 0.8
PROBED = "probed machine"
"""The regime of a machine whose own constants were measured."""


def regime(kind: str, n_devices: int, *, known: bool) -> str:
    """The regime of a step: dense or other training, one node or more, on a device and stack that were measured or not.

    >>> regime("dense", 64, known=True)
    'dense, many devices'
    """
    what = kind if kind == "dense" else "other"
    return f"{what}, {'one node' if n_devices <= 8 else 'many devices'}{'' if known else ', unknown'}"


def weighted_quantile(values: Array, weights: Array, share: float) -> float:
    """The value below which this share of the weight lies, counting one more unseen value (the conformal correction).

    >>> weighted_quantile(np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4), 0.5)
    2.0
    """
    order = np.argsort(values)
    heap = np.cumsum(weights[order]) / np.sum(weights)
    return float(values[order][min(int(np.searchsorted(heap, share - 1e-12)), len(values) - 1)])


def residual_bounds(residuals: Array, weights: Array, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """(low, high) quantiles of log(measured / predicted) that hold this share of the weight."""
    tail = (1.0 - confidence) / 2.0
    return weighted_quantile(residuals, weights, tail), weighted_quantile(residuals, weights, 1.0 - tail)


@cache
def _shipped() -> Mapping[str, Mapping[str, tuple[float, float]]]:
    text = resources.files("trainwright.cost").joinpath("data/intervals.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    return {
        what: {name: (float(row["low"]), float(row["high"])) for name, row in tables[what].items()}
        for what in ("time", "memory")
    }


def interval(value: Number, what: str, name: str) -> Interval:
    """The interval of a predicted figure, ``what`` being time or memory, in the regime of that name.

    >>> span = interval(10.0, "time", "dense, many devices")
    >>> bool(span.low < 10.0 < span.high)
    True
    """
    known = _shipped()[what]
    low, high = known[name] if name in known else known["dense, many devices, unknown"]
    return Interval(low=value * np.exp(low), high=value * np.exp(high), confidence=CONFIDENCE)


def widened(span: Interval, spread: float) -> Interval:
    """The interval where the device's own figures are only known to within this spread, 80 % of the time.

    >>> span = widened(Interval(low=1.0, high=2.0, confidence=0.8), 0.1)
    >>> round(float(span.low), 2), round(float(span.high), 2)
    (0.88, 2.27)
    """
    by = np.exp(NORMAL_80 * spread)
    return Interval(low=span.low / by, high=span.high * by, confidence=span.confidence)


NORMAL_80 = 1.2816
"""Deviations from the middle within which 80 % of a normal distribution lies."""
