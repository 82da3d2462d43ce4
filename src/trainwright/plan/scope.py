"""What of the space is looked at: the user's pins, the values tried unasked, the finer parts left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.jobs.strategy import Axis
from trainwright.plan.facts import Facts
from trainwright.plan.legal import CHOICES
from trainwright.plan.pins import Pin, allowed, pinned_values

ORDERS: tuple[tuple[Axis, ...], ...] = tuple(
    ("tp", *(axis for name in outer for axis in (("ep", "dp") if name == "dp" else (name,))))
    for outer in permutations(("cp", "dp", "pp"))
)
"""Orders of the axes from the fastest network outwards: tp first, ep beside the dp it lies in."""

LADDER = (1, 2, 3, 4, 6, 8, 12, 16)
"""Every how many blocks recomputation is tried."""

SHORTEST = 256
"""Tokens of a sample that context parallelism leaves each device before such splits are the first to be left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finer:
    """Values of an axis that may be left out when the space grows too large: which stay, and what to say then."""

    axis: str
    stays: Callable[[Any, Facts], bool]
    text: str


FINER: tuple[Finer, ...] = (
    Finer(axis="cp", stays=lambda v, f: f.seq >= SHORTEST * v or v == 1, text=f"cp below {SHORTEST} tokens a device"),
    Finer(axis="recompute_every", stays=lambda v, f: v <= 4, text="recomputation of every 6th block and fewer"),
    Finer(axis="offload", stays=lambda v, f: v != "parameters", text="offload of parameters"),
    Finer(axis="order", stays=lambda v, f: v in (ORDERS[0], ORDERS[1]), text="orders of axes with cp outside dp or pp"),
    Finer(axis="shard", stays=lambda v, f: v == 0, text="sharding over part of the data-parallel ranks"),
    Finer(axis="recompute_every", stays=lambda v, f: v <= 2, text="recomputation of every 3rd and 4th block"),
    Finer(axis="cp_kind", stays=lambda v, f: v == "ring", text="context parallelism by all-to-all"),
    Finer(axis="offload", stays=lambda v, f: v == "none", text="offload of optimizer states"),
    Finer(axis="micro_batch", stays=lambda v, f: v & (v - 1) == 0, text="micro-batches that are no power of two"),
    Finer(axis="order", stays=lambda v, f: v == ORDERS[0], text="other orders of axes than tp-cp-ep-dp-pp"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a space is made of: the facts, the pins, and the finer parts that are left out."""

    facts: Facts
    pins: tuple[Pin, ...]
    dropped: tuple[Finer, ...] = ()

    def keeps(self, axis: str, value: Any) -> bool:
        """Whether a value is looked at; what is pinned is never left out as too fine."""
        if not allowed(self.pins, axis, value):
            return False
        if pinned_values(self.pins, axis) is not None:
            return True
        return all(finer.stays(value, self.facts) for finer in self.dropped if finer.axis == axis)

    def kept(self, axis: str, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """The values of a count that are looked at."""
        return np.array([value for value in values.tolist() if self.keeps(axis, value)], dtype=np.int64)

    def domain(self, axis: str) -> tuple[Any, ...]:
        """The values of a choice that are looked at."""
        pinned = pinned_values(self.pins, axis)
        return pinned if pinned is not None else tuple(v for v in usual(axis, self.facts) if self.keeps(axis, v))


def usual(axis: str, facts: Facts) -> tuple[Any, ...]:
    """The values of a choice that are tried unasked; gpipe, fp8 and fp32 on a GPU are for pins."""
    if axis == "precision":
        half = next((name for name in ("bf16", "fp16") if name in facts.precisions), None)
        return tuple(name for name in (half, "fp32" if facts.is_cpu or half is None else None) if name)
    if axis == "schedule":
        return ("1f1b", "interleaved", "zero_bubble")
    if axis == "offload" and facts.is_cpu:
        return ("none",)
    if axis == "order":
        return ORDERS if facts.n_devices > facts.devices_per_node else ORDERS[:1]
    return CHOICES[axis]
