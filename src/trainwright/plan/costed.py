"""A whole space costed: memory first, then time for what fits, in columns that stand in one order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.cost import memory
from trainwright.cost.factors import Pricing, peak_bytes, states_tables, steady_tables, step_seconds
from trainwright.cost.memory import activity, holdings
from trainwright.cost.memory_rules import MemoryRules, memory_rules, occupied_bytes
from trainwright.cost.offload import host_bytes, host_room
from trainwright.cost.stack import Stack
from trainwright.cost.stages import PriceBook
from trainwright.hardware.cluster import Cluster
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import ModelSpec
from trainwright.plan.choice import capacity_bytes, dollars_per_second
from trainwright.plan.family import Crossing, Family, Option, Places, Rows
from trainwright.plan.space import n_rows, row

CHUNK_ROWS = 16_384
"""Rows costed at once: few enough that the columns of a formula stay in a core's cache."""

FACTORS = (("schedule", "sequence_parallel", "recompute", "precision"), ("schedule", "zero_stage", "precision"))
"""What work and activations depend on, and what states depend on, beside where axes lie."""

_DEGREES = ("dp", "tp", "cp", "pp", "ep")

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
        pairs = [(family, placed) for family in self.families for placed in family.placed]
        family, placed = pairs[which]
        places = family.crossing.places()
        rows = np.flatnonzero(placed.n[places.base])[[index - int(self.starts[which])]]
        return replace(row(family.crossing.written(places.take(rows)), 0), **placed.choices)


Piece = tuple[Column, Column, Column, NDArray[np.int64]]
"""step_s, peak_bytes, dollars and shapes of one placement of a family."""


def cost_families(task: Task, cluster: Cluster, families: tuple[Family, ...], room_bytes: float) -> Costed:
    """Memory of every candidate; time and money of those that need at most ``room_bytes``."""
    pieces: list[Piece] = []
    pricing = Pricing(
        model=task.model, workload=task.workload, groups=cluster.groups, stack=task.stack, book=PriceBook()
    )
    for _, same_base in groupby(families, key=lambda family: id(family.crossing.base)):
        factors = _Factors(task=task, cluster=cluster, room_bytes=room_bytes, pricing=pricing)
        for family in same_base:
            pieces += _cost(factors, family)
    lengths = np.array([len(piece[0]) for piece in pieces], dtype=np.int64)
    step_s, peaks, dollars, shapes = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return Costed(
        cluster=cluster,
        families=families,
        starts=np.cumsum(lengths) - lengths,
        step_s=step_s,
        peak_bytes=peaks,
        dollars=dollars,
        shapes=shapes,
    )


def _cost(factors: _Factors, family: Family) -> Iterator[Piece]:
    """The columns of each placement of a family."""
    whole, task = family.crossing, factors.task
    places = whole.places()
    work, states = (family.of(*names) for names in FACTORS)
    rows = work.rows_of(places, whole), states.rows_of(places, whole)
    peak, base = factors.peak((work, states), rows), whole.base
    peak = np.asarray(occupied_bytes(peak, n_communicators(base)[places.base], rules_of(task.stack)))
    fits = (peak <= factors.room_bytes) & factors.hosted(states)[rows[1]]
    rate, shape = _rates(factors.cluster, base), _shapes(base, dict(whole.name)["zero_stage"])
    for placed in family.placed:
        here = np.flatnonzero(placed.n[places.base])
        step_s = np.full(len(here), np.inf)
        timed = np.flatnonzero(fits[here])
        step_s[timed] = factors.seconds(family, placed, places.take(here[timed]))
        at = places.base[here]
        yield step_s, peak[here], step_s * rate[at], shape[at]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Factors:
    """What the families of one base share: each part of a cost, priced once for the choices that it depends on."""

    task: Task
    cluster: Cluster
    room_bytes: float
    pricing: Pricing
    known: dict[tuple[str, tuple[tuple[str, Any], ...]], Any] = field(default_factory=dict)

    def peak(self, parts: tuple[Crossing, Crossing], rows: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Column:
        """Bytes allocated at the peak, from the activations of the one part and the states of the other."""
        task, rules = self.task, rules_of(self.task.stack)
        moving = self._once("moving", parts[0], lambda t: activity(task.model, task.workload, t, rules))
        held = self._once("held", parts[1], lambda t: holdings(task.model, task.workload, t, rules))
        return np.asarray(peak_bytes(moving, held, rows))

    def hosted(self, crossing: Crossing) -> Any:
        """Whether the hosts' memory holds what each row offloads."""
        return self._once("hosted", crossing, self._host_has_room)

    def seconds(self, family: Family, placed: Option, places: Places) -> Column:
        """Seconds of a step of some rows of a family, lying so."""
        whole = family.crossing
        if not len(places.base):
            return np.empty(0)
        steady, states = (Crossing(base=whole.base, options=(*family.of(*names).options, placed)) for names in FACTORS)
        tables = (
            self._once("steady", steady, lambda t: steady_tables(t, self.pricing)),
            self._once("states", states, lambda t: states_tables(t, self.pricing)),
        )
        rows = steady.rows_of(places, whole), states.rows_of(places, whole)
        pieces = []
        for start in range(0, len(rows[0]), CHUNK_ROWS):
            some = rows[0][start : start + CHUNK_ROWS], rows[1][start : start + CHUNK_ROWS]
            pieces.append(step_seconds(self.pricing, *tables, some))
        return np.concatenate(pieces)

    def _once(self, what: str, crossing: Crossing, price: Callable[[Strategy], Any]) -> Any:
        key = (what, crossing.name)
        if key not in self.known:
            self.known[key] = price(crossing.table())
        return self.known[key]

    def _host_has_room(self, table: Strategy) -> Any:
        if all(group.host_memory_bytes is None for group in self.cluster.groups):
            return np.ones(n_rows(table), dtype=np.bool_)
        task = self.task
        needed = host_bytes(task.model, task.workload, table, task.stack)
        room = host_room(table, needed, self.cluster.groups)
        return np.broadcast_to(np.greater_equal(room, 0.0), (n_rows(table),))


def occupied(task: Task, strategy: Strategy) -> float:
    """Bytes of a device that one strategy takes at its peak, allocator and contexts included."""
    rules = rules_of(task.stack)
    allocated = np.max(memory.peak_bytes(task.model, task.workload, strategy, rules))
    degrees = {axis: np.asarray(getattr(strategy, axis)) for axis in _DEGREES}
    return float(occupied_bytes(allocated, n_communicators(degrees), rules))


def rules_of(stack: Stack) -> MemoryRules:
    """How a stack keeps tensors, with the attention it really uses."""
    return replace(memory_rules(stack.name), attention=stack.attention)


def n_communicators(degrees: Mapping[str, Any]) -> Any:
    """Process groups with more than one member, one for each axis in use."""
    return sum(np.greater(degrees[axis], 1).astype(float) for axis in _DEGREES)


def _shapes(base: Rows, zero_stage: int) -> NDArray[np.int64]:
    key = np.full(len(base["dp"]), zero_stage, dtype=np.int64)
    for axis in _DEGREES:
        key = key * 1_000_003 + base[axis]
    return key


def _rates(cluster: Cluster, base: Rows) -> Column:
    """Dollars a second for each row's devices; devices themselves where nobody named a price."""
    n_devices = base["dp"] * base["tp"] * base["cp"] * base["pp"]
    counts, inverse = np.unique(n_devices, return_inverse=True)
    rates = [dollars_per_second(cluster, float(count)) for count in counts]
    return np.array([float(count) if rate is None else rate for rate, count in zip(rates, counts, strict=True)])[
        inverse
    ]


def room_bytes(cluster: Cluster, headroom_share: float) -> float:
    """Bytes a device may be filled with."""
    return capacity_bytes(cluster) * (1.0 - headroom_share)
