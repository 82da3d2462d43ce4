"""A table of candidates in factors: what depends on few of its choices is priced once, and combined row by row.

Recomputation and the exchange of activations do not touch the states; sharding and offload do not touch the work. So a
table of both crossed is two small tables and, for each candidate, a row of either.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from trainwright.cost.compose import Scales, Steady, busy, shares, steady_of, total_s
from trainwright.cost.corrections import scales_for
from trainwright.cost.exchange import spans
from trainwright.cost.ingredients import States, overlaps, states, work
from trainwright.cost.memory import Moving, together
from trainwright.cost.setting import setting
from trainwright.cost.stack import Stack
from trainwright.cost.stages import PriceBook
from trainwright.cost.table import Array
from trainwright.hardware.cluster import NodeGroup
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Precision, Strategy
from trainwright.models.spec import ModelSpec
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """What seconds depend on beside the strategy; ``book`` keeps the blocks that were priced."""

    model: ModelSpec
    workload: Workload
    groups: tuple[NodeGroup, ...]
    stack: Stack
    book: PriceBook

    def scales(self, group: NodeGroup, precision: Precision = "bf16") -> Scales:
        """The constants that measurements gave the stack on a group's device; products also have some of a format."""
        return scales_for(self.model, self.workload, group.device, self.stack, precision)


def steady_tables(strategy: Strategy, pricing: Pricing) -> tuple[Steady, ...]:
    """The part of every candidate's step that its states do not touch, on each group of devices."""
    found = []
    for group in pricing.groups:
        asked = setting(pricing.model, pricing.workload, strategy, group, pricing.stack, pricing.book)
        done = work(asked, spans(asked.table, group, pricing.stack))
        one = busy(done, overlaps(pricing.stack), pricing.scales(group, strategy.precision))
        found.append(steady_of(one, done))
    return tuple(found)


def states_tables(strategy: Strategy, pricing: Pricing) -> tuple[States, ...]:
    """What each candidate's states take, on each group of devices."""
    found = []
    for group in pricing.groups:
        asked = setting(pricing.model, pricing.workload, strategy, group, pricing.stack, pricing.book)
        found.append(states(asked, spans(asked.table, group, pricing.stack)))
    return tuple(found)


def step_seconds(
    pricing: Pricing, steady: tuple[Steady, ...], states: tuple[States, ...], rows: tuple[Array, Array]
) -> Array:
    """Seconds of a step of candidates, given the row of either table that each one is; the slowest group's."""
    seconds = [
        total_s(_at(own, rows[0]), _at(held, rows[1]), shares(overlaps(pricing.stack), pricing.scales(group)))
        for group, own, held in zip(pricing.groups, steady, states, strict=True)
    ]
    slowest: Array = reduce(np.maximum, seconds)
    return slowest


def peak_bytes(moving: Moving, held: Moving, rows: tuple[Array, Array]) -> Number:
    """As ``cost.memory.peak_bytes``, of candidates given the row of either table that each one is."""
    return together(
        tuple(_pick(active, rows[0]) for active in moving),
        tuple(_pick(there, rows[1]) for there in held),
    )


@dataclass(frozen=True, slots=True)
class _At:
    """The fields of a table at some rows, each picked when a formula asks for it."""

    table: Any
    rows: Array

    def __getattr__(self, name: str) -> Any:
        return _pick(getattr(self.table, name), self.rows)


def _at(table: Any, rows: Array) -> Any:
    return _At(table, rows)


def _pick(values: Any, rows: Array) -> Any:
    return values.take(rows, axis=-1) if np.ndim(values) else values
