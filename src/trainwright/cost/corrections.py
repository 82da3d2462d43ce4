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

from trainwright.cost.calibration import KINDS, LEVELS, Corrections
from trainwright.cost.compose import AS_IS, Scales
from trainwright.cost.kind import kind_of
from trainwright.cost.stack import Stack
from trainwright.hardware.device import Device
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Precision
from trainwright.models.spec import ModelSpec


@cache
def shipped() -> Corrections:
    """Every correction of the file."""
    text = resources.files("trainwright.cost").joinpath("data/corrections.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    levels = ({name: _logs(row) for name, row in tables.get(level, {}).items()} for level in LEVELS)
    return Corrections(everywhere=_logs(tables["everywhere"]), by_level=tuple(levels))


def _logs(row: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    return np.array([np.log(float(row.get(kind, 1.0))) for kind in KINDS])


@cache
def _scales(names: tuple[str, ...]) -> Scales:
    return Scales(**dict(zip(KINDS, (float(v) for v in np.exp(shipped().of(names))), strict=True)))


def scales_of(stack: Stack, device: Device, kind: str = "dense", precision: Precision = "bf16") -> Scales:
    """By what the ingredients of a step are multiplied, for a stack on a device, a kind of training and a precision.

    >>> from trainwright.cost.stack import stack
    >>> from trainwright.hardware.catalogue import device
    >>> scales_of(stack("nemo"), device("H100-SXM")).overlap > 0
    True
    """
    if device.learned:
        return _from_runs(device.learned)
    if device.kind == "cpu" or not stack.corrected or (kind == "other" and stack.convolution == "kernel"):
        return AS_IS
    return _scales(correction_names(stack, device, kind, precision))


def _from_runs(factors: Mapping[str, float]) -> Scales:
    """What runs on a machine taught about it (hardware/machine.py)."""
    work, wire = factors.get("compute", 1.0), factors.get("communication", 1.0)
    return Scales(
        compute=work, attention=work, stream=work, host=work, update=factors.get("optimizer", 1.0),
        tp=wire, cp=wire, ep=wire, dp=wire, pp=wire,
    )  # fmt: skip


def correction_names(stack: Stack, device: Device, kind: str, precision: Precision) -> tuple[str, ...]:
    """What the corrections of a step are filed under, for each of ``LEVELS``."""
    own = stack.name if kind == "dense" else f"{stack.name}+{kind}"
    numbers = "mxfp8" if stack.block_scaled and precision == "fp8" else precision
    narrow = f"{device.name} {numbers}" if precision in NARROW else "wide"
    return (own, device.architecture, device.name, f"{stack.name}@{device.architecture}", narrow)


NARROW = ("fp8", "fp4")
"""Formats of which hardly a product was published."""


def is_known(stack: Stack, device: Device, kind: str) -> bool:
    """Whether anybody's measurements tell of this stack in this kind of training, and of this device."""
    names = dict(zip(LEVELS, correction_names(stack, device, kind, "bf16"), strict=True))
    tables = dict(zip(LEVELS, shipped().by_level, strict=True))
    return all(names[level] in tables[level] for level in ("stack", "device"))


def scales_for(model: ModelSpec, workload: Workload, device: Device, stack: Stack, precision: Precision) -> Scales:
    """By what the ingredients of a step of this model are multiplied."""
    return scales_of(stack, device, kind_of(model, workload), precision)
