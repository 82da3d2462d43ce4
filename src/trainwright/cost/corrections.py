"""The constants that measurements gave: data/corrections.toml, rebuilt by tools/fit_corrections.py.

Devices a probe measured need none: their own figures are in them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from trainwright.cost.calibration import KINDS, Corrections
from trainwright.cost.compose import AS_IS, Scales
from trainwright.cost.kind import kind_of
from trainwright.cost.stack import Stack
from trainwright.hardware.device import Device
from trainwright.jobs.job import Workload
from trainwright.models.spec import ModelSpec


@cache
def shipped() -> Corrections:
    """Every correction of the file."""
    text = resources.files("trainwright.cost").joinpath("data/corrections.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    stack, device, pair = (
        {name: _logs(row) for name, row in tables.get(key, {}).items()} for key in ("stack", "device", "pair")
    )
    return Corrections(everywhere=_logs(tables["everywhere"]), by_stack=stack, by_device=device, by_pair=pair)


def _logs(row: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    return np.array([np.log(float(row.get(kind, 1.0))) for kind in KINDS])


@cache
def _scales(names: tuple[str, str, str]) -> Scales:
    return Scales(**dict(zip(KINDS, (float(v) for v in np.exp(shipped().of(*names))), strict=True)))


def scales_of(stack: str, device: Device, kind: str = "dense") -> Scales:
    """By what the ingredients of a step are multiplied, for a stack on a device and a kind of training.

    >>> from trainwright.hardware.catalogue import device
    >>> scales_of("nemo", device("H100-SXM")).overlap > 0
    True
    """
    if device.kind == "cpu":
        return AS_IS
    return _scales(correction_names(stack, device, kind))


def correction_names(stack: str, device: Device, kind: str) -> tuple[str, str, str]:
    """What the corrections of a step are filed under: stack (and kind), device, stack on architecture."""
    return (stack if kind == "dense" else f"{stack}+{kind}", device.name, f"{stack}@{device.architecture}")


def scales_for(model: ModelSpec, workload: Workload, device: Device, stack: Stack) -> Scales:
    """By what the ingredients of a step of this model are multiplied."""
    return scales_of(stack.name, device, kind_of(model, workload))
