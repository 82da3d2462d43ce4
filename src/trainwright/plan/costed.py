"""A whole space costed: memory first, then time for what fits, in columns that stand in one order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.stack import Stack
from trainwright.cost.step import estimate_step
from trainwright.hardware.cluster import Cluster
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import ModelSpec
from trainwright.plan.choice import capacity_bytes, dollars_per_second
from trainwright.plan.legal import NUMERIC

CHUNK_ROWS = 16_384
"""Rows costed at once: few enough that the columns of a formula stay in a core's cache."""

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Costed:
    """Every candidate of one cluster. ``step_s`` and ``dollars`` (a step) are infinite where it does not fit.

    ``peak_bytes`` is of all; ``dollars`` are device-seconds where nobody named a price. ``starts``: first row of each
    table in the columns.
    """

    cluster: Cluster
    tables: tuple[Strategy, ...]
    starts: NDArray[np.int64]
    step_s: Column
    peak_bytes: Column
    dollars: Column

    @property
    def n_timed(self) -> int:
        """How many fit, and so were timed."""
        return int(np.isfinite(self.step_s).sum())

    def strategy(self, index: int) -> Strategy:
        """The candidate of that row, as a single strategy."""
        which = int(np.searchsorted(self.starts, index, side="right")) - 1
        return row(self.tables[which], index - int(self.starts[which]))

    def shapes(self) -> NDArray[np.int64]:
        """A number for each candidate's degrees and ZeRO stage: the same for variants of one way to divide."""
        total: list[NDArray[np.int64]] = []
        for table in self.tables:
            key = np.full(n_rows(table), table.zero_stage, dtype=np.int64)
            for axis in ("dp", "tp", "cp", "pp", "ep"):
                key = key * 1_000_003 + getattr(table, axis)
            total.append(key)
        return np.concatenate(total)


def n_rows(table: Strategy) -> int:
    """Rows of a table of the space."""
    return len(np.atleast_1d(np.asarray(table.dp)))


def row(table: Strategy, index: int) -> Strategy:
    """One row as a strategy of plain numbers."""
    columns = {axis: getattr(table, axis) for axis in NUMERIC}
    picked = {axis: int(column[index]) for axis, column in columns.items() if isinstance(column, np.ndarray)}
    return replace(table, **picked)  # type: ignore[arg-type]


def take(table: Strategy, rows: slice | NDArray[np.int64]) -> Strategy:
    """Some rows of a table, as a table."""
    columns = {axis: getattr(table, axis) for axis in NUMERIC}
    picked = {axis: column[rows] for axis, column in columns.items() if isinstance(column, np.ndarray)}
    return replace(table, **picked)  # type: ignore[arg-type]


def chunks(table: Strategy) -> Iterator[Strategy]:
    """The table in pieces of at most CHUNK_ROWS."""
    n = n_rows(table)
    if n <= CHUNK_ROWS:
        yield table
        return
    for start in range(0, n, CHUNK_ROWS):
        yield take(table, slice(start, start + CHUNK_ROWS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be trained with which software."""

    model: ModelSpec
    workload: Workload
    stack: Stack


def cost_tables(task: Task, cluster: Cluster, tables: Iterable[Strategy], room_bytes: float) -> Costed:
    """Memory of every candidate; time and money of those that need at most ``room_bytes``."""
    tables = tuple(tables)
    peaks: list[Column] = []
    steps: list[Column] = []
    dollars: list[Column] = []
    for table in tables:
        for chunk in chunks(table):
            peak, step_s = _memory_then_time(task, cluster, chunk, room_bytes)
            peaks.append(peak)
            steps.append(step_s)
            dollars.append(step_s * _rates(cluster, np.asarray(chunk.n_devices)))
    lengths = np.array([n_rows(table) for table in tables], dtype=np.int64)
    return Costed(
        cluster=cluster,
        tables=tables,
        starts=np.cumsum(lengths) - lengths,
        step_s=np.concatenate(steps),
        peak_bytes=np.concatenate(peaks),
        dollars=np.concatenate(dollars),
    )


def _memory_then_time(task: Task, cluster: Cluster, chunk: Strategy, room_bytes: float) -> tuple[Column, Column]:
    n = n_rows(chunk)
    estimate = estimate_step(task.model, task.workload, chunk, cluster, task.stack)
    peak = np.broadcast_to(np.asarray(estimate.peak_bytes, dtype=np.float64), (n,))
    return peak, np.where(peak <= room_bytes, estimate.step_s, np.inf)


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
