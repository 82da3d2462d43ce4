"""A whole space costed: memory first, then time for what fits, in columns that stand in one order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.memory import peak_bytes
from trainwright.cost.memory_rules import memory_rules, occupied_bytes
from trainwright.cost.offload import host_bytes, host_room
from trainwright.cost.stack import Stack
from trainwright.cost.stages import PriceBook
from trainwright.cost.step import step_seconds
from trainwright.hardware.cluster import Cluster
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import ModelSpec
from trainwright.plan.choice import capacity_bytes, dollars_per_second
from trainwright.plan.space import Family, Placement, n_rows, row, take

CHUNK_ROWS = 16_384
"""Rows costed at once: few enough that the columns of a formula stay in a core's cache."""

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be trained with which software."""

    model: ModelSpec
    workload: Workload
    stack: Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class Costed:
    """Every candidate of one cluster. ``step_s`` and ``dollars`` (a step) are infinite where it does not fit.

    ``peak_bytes`` is what a device loses to it, as nvidia-smi shows; ``dollars`` are device-seconds where nobody named
    a price. ``shapes``: a number for each way to divide, the same for its variants. ``starts``: the first row of each
    family's placements, in order.
    """

    cluster: Cluster
    families: tuple[Family, ...]
    starts: NDArray[np.int64]
    step_s: Column
    peak_bytes: Column
    dollars: Column
    shapes: NDArray[np.int64]

    @property
    def n_timed(self) -> int:
        """How many fit, and so were timed."""
        return int(np.isfinite(self.step_s).sum())

    def strategy(self, index: int) -> Strategy:
        """The candidate of that row, as a single strategy."""
        which = int(np.searchsorted(self.starts, index, side="right")) - 1
        places = [(family, placement) for family in self.families for placement in family.placements]
        family, placement = places[which]
        found = row(family.table, int(placement.rows[index - int(self.starts[which])]))
        return replace(found, **placement.choices)


@dataclass(slots=True, kw_only=True)
class _Columns:
    """Columns as they grow, one piece for each placement of a family."""

    step_s: list[Column]
    peak_bytes: list[Column]
    dollars: list[Column]
    shapes: list[NDArray[np.int64]]


def cost_families(task: Task, cluster: Cluster, families: tuple[Family, ...], room_bytes: float) -> Costed:
    """Memory of every candidate; time and money of those that need at most ``room_bytes``."""
    columns = _Columns(step_s=[], peak_bytes=[], dollars=[], shapes=[])
    pricing = _Pricing(task=task, cluster=cluster, book=PriceBook())
    for family in families:
        peak, hosted = occupied(task, family.table), _host_has_room(task, cluster, family.table)
        rate, shape = _rates(cluster, np.asarray(family.table.n_devices)), _shapes(family.table)
        for placement in family.placements:
            here = peak[placement.rows]
            fits = np.flatnonzero((here <= room_bytes) & np.broadcast_to(hosted, peak.shape)[placement.rows])
            step_s = np.full(len(here), np.inf)
            step_s[fits] = _seconds(pricing, family.table, placement, fits)
            columns.step_s.append(step_s)
            columns.peak_bytes.append(here)
            columns.dollars.append(step_s * rate[placement.rows])
            columns.shapes.append(shape[placement.rows])
    lengths = np.array([len(piece) for piece in columns.step_s], dtype=np.int64)
    return Costed(
        cluster=cluster,
        families=families,
        starts=np.cumsum(lengths) - lengths,
        step_s=np.concatenate(columns.step_s),
        peak_bytes=np.concatenate(columns.peak_bytes),
        dollars=np.concatenate(columns.dollars),
        shapes=np.concatenate(columns.shapes),
    )


def occupied(task: Task, table: Strategy) -> Column:
    """Bytes of a device that each candidate of a table takes at its peak, allocator and contexts included."""
    rules = memory_rules(task.stack.name)
    peaks = []
    for start in range(0, n_rows(table), CHUNK_ROWS):
        chunk = take(table, slice(start, start + CHUNK_ROWS))
        allocated = np.atleast_1d(np.asarray(peak_bytes(task.model, task.workload, chunk, rules)))
        peaks.append(occupied_bytes(allocated, n_communicators(chunk), rules))
    return np.concatenate(peaks)


def _host_has_room(task: Task, cluster: Cluster, table: Strategy) -> Any:
    """Whether the hosts' memory holds what a table offloads to them."""
    needed = host_bytes(task.model, task.workload, table, task.stack)
    return np.greater_equal(host_room(table, needed, cluster.groups), 0.0)


def n_communicators(strategy: Strategy) -> Any:
    """Process groups with more than one member, one for each axis in use."""
    return sum(np.greater(getattr(strategy, axis), 1).astype(float) for axis in ("dp", "tp", "cp", "pp", "ep"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pricing:
    """What the seconds of a table need beside it."""

    task: Task
    cluster: Cluster
    book: PriceBook


def _seconds(pricing: _Pricing, table: Strategy, placement: Placement, fits: NDArray[np.int64]) -> Column | float:
    """Seconds of a step of the candidates that fit."""
    task = pricing.task
    pieces: list[Any] = []
    for start in range(0, len(fits), CHUNK_ROWS):
        rows = placement.rows[fits[start : start + CHUNK_ROWS]]
        chunk = replace(take(table, rows), **placement.choices)
        pieces.append(step_seconds(task.model, task.workload, chunk, pricing.cluster, task.stack, pricing.book))
    return np.concatenate(pieces) if pieces else 0.0


def _shapes(table: Strategy) -> NDArray[np.int64]:
    key = np.full(n_rows(table), table.zero_stage, dtype=np.int64)
    for axis in ("dp", "tp", "cp", "pp", "ep"):
        key = key * 1_000_003 + getattr(table, axis)
    return key


def _rates(cluster: Cluster, n_devices: NDArray[np.int64]) -> Column:
    """Dollars a second for each candidate's devices; devices themselves where nobody named a price."""
    counts, inverse = np.unique(n_devices, return_inverse=True)
    rates = [dollars_per_second(cluster, float(count)) for count in counts]
    return np.array([float(count) if rate is None else rate for rate, count in zip(rates, counts, strict=True)])[
        inverse
    ]


def room_bytes(cluster: Cluster, headroom_share: float) -> float:
    """Bytes a device may be filled with."""
    return capacity_bytes(cluster) * (1.0 - headroom_share)
