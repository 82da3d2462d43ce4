"""What a device that nobody measured has in common with which of the measured: power, schedulers, age."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from trainwright.hardware.catalogue import device

HALVED_YEARS = 6.0
"""Years in which a FLOP's energy halves: of 3 to 10 what makes the devices' bests, freed from their power, most alike,
whichever of them is left out (but T4: 3.5)."""


def unit(name: str, dtype: str) -> str:
    """Plain cores multiply fp32, matrix units the rest; CDNA's datasheets quote fp32 of matrix units too."""
    is_plain = dtype in ("fp32", "fp64") and not device(name).architecture.startswith("CDNA")
    return "vector" if is_plain else "tensor"


def power_ratio(name: str, kind: str) -> float:
    """Watts for each TFLOP/s of the datasheet, in energies of 2018 (HALVED_YEARS).

    Parts with little power for their peak (T4, P4) cannot hold their clock in large products.
    """
    made = device(name)
    peak = made.flop_per_s.get("fp32" if kind == "vector" else "bf16") or made.flop_per_s.get("fp16", 0.0)
    if not made.power_w or not peak or made.year is None:
        return float("inf")
    return float(made.power_w / (peak / 1e12) * 2.0 ** ((made.year - 2018) / HALVED_YEARS))


def limited(name: str, kind: str, knee: float) -> float:
    """Share of its best that a device's power lets it hold: 1 above the knee, and where none is known (0)."""
    return min(1.0, power_ratio(name, kind) / knee) if knee else 1.0


def fit_knee(bests: Mapping[str, float], kind: str) -> float:
    """The knee that makes the devices' bests, freed from it, most alike."""
    knees = np.geomspace(0.3, 30.0, 60)

    def spread(knee: float) -> float:
        free = np.log([best / limited(name, kind, knee) for name, best in bests.items()])
        return float(np.abs(free - np.median(free)).mean())

    return float(knees[int(np.argmin([spread(knee) for knee in knees]))])


HALF_ISSUE = ("Volta", "Turing", "Ampere-GA100", "CDNA")
"""Architectures whose schedulers have 16 lanes of fp32 each, so that every other slot is free for what is no product;
with 32 lanes loads and addresses take slots from products. Source: the makers' whitepapers on their multiprocessors."""


def has_slots(name: str) -> bool:
    """Which sort of scheduler a device has."""
    return device(name).architecture in HALF_ISSUE


def generation(name: str) -> str:
    """A device's architecture without the chip's own name: of like age, and with memory of that age."""
    return device(name).architecture.split("-")[0]


def median_of(values: Iterable[tuple[str, float]], name: str, kin: Callable[[str], object]) -> float:
    """The median over devices of the same architecture, else of its kin, else over all of them."""
    known = list(values)
    for like in (lambda other: device(other).architecture, kin):
        same = [value for other, value in known if like(other) == like(name)]
        if same:
            return float(np.median(same))
    return float(np.median([value for _, value in known]))
