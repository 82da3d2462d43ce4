"""The constants that serving measurements gave: data/serving_corrections.toml, rebuilt by tools/fit_serving.py."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from trainwright.cost.serving.calibration import KINDS, Corrections, names_of
from trainwright.cost.serving.compose import ServingScales
from trainwright.cost.serving.replica import Replica

LEVELS = ("everywhere", "engine", "device", "pair")
"""The tables of the file, in the order of the levels."""


@cache
def _file() -> Mapping[str, Any]:
    text = resources.files("trainwright.cost").joinpath("data/serving_corrections.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def shipped() -> Corrections:
    """Every correction of the file."""
    levels = tuple({name: _logs(row) for name, row in _file().get(level, {}).items()} for level in LEVELS)
    return Corrections(levels=levels)


def _logs(row: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    return np.array([np.log(float(row.get(kind, 1.0))) for kind in KINDS])


def scales_of(replica: Replica) -> ServingScales:
    """By what the kinds of a replica's passes are multiplied; a probed CPU's own figures need no correction.

    >>> ServingScales().products
    1.0
    """
    if replica.device.kind == "cpu":
        return ServingScales()
    factors = np.exp(shipped().of(names_of(replica)))
    return ServingScales(**dict(zip(KINDS, (float(v) for v in factors), strict=True)))


def interval_factors() -> tuple[float, float]:
    """By what a predicted time is multiplied for the low and high end of its 80 % interval (blind residuals)."""
    low, high = _file()["interval"]["time"]
    return float(low), float(high)
