"""A strategy as a table: every count as an array of one length, so that one formula answers for all candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.units import Number

Array = NDArray[Any]
_COUNTS = ("dp", "tp", "cp", "pp", "ep", "micro_batch", "virtual_stages", "recompute_every")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """``n`` candidates. Arrays of length n; ``n_micro`` is micro-batches a replica does one after another."""

    strategy: Strategy
    workload: Workload
    n: int
    is_scalar: bool
    dp: Array
    tp: Array
    cp: Array
    pp: Array
    ep: Array
    micro_batch: Array
    virtual_stages: Array
    recompute_every: Array
    shard: Array
    n_micro: Array

    @property
    def n_devices(self) -> Array:
        """Devices each candidate uses."""
        return self.dp * self.tp * self.cp * self.pp

    @property
    def split(self) -> Array:
        """How many ways tp divides activations between blocks."""
        return self.tp if self.strategy.sequence_parallel else np.ones(self.n)


def table(strategy: Strategy, workload: Workload) -> Table:
    """The candidates of a strategy, one or many."""
    given = {name: np.atleast_1d(np.asarray(getattr(strategy, name), dtype=float)) for name in _COUNTS}
    shard = np.atleast_1d(np.asarray(strategy.dp if strategy.shard is None else strategy.shard, dtype=float))
    n = max(*(len(array) for array in given.values()), len(shard))
    scalar = all(np.ndim(getattr(strategy, name)) == 0 for name in _COUNTS) and np.ndim(strategy.shard or 0) == 0
    columns = {name: spread(array, (n,)) for name, array in given.items()}
    return Table(
        strategy=strategy,
        workload=workload,
        n=n,
        is_scalar=scalar,
        shard=spread(shard, (n,)),
        n_micro=np.maximum(workload.global_batch / (columns["dp"] * columns["micro_batch"]), 1.0),
        **columns,
    )


def spread(value: Number, shape: tuple[int, ...]) -> Array:
    """The value in this shape; what has it already costs nothing, which is what makes one estimate quick."""
    array = np.asarray(value, dtype=float)
    return array if array.shape == shape else np.broadcast_to(array, shape)


def plain(value: Array) -> Number:
    """A column as a number where there is one candidate: plain numbers are several times as fast as arrays of one."""
    return float(value[0]) if len(value) == 1 else value


Answer = TypeVar("Answer")


def once_per_combination(
    columns: tuple[Array, ...], price: Callable[..., Answer], pick: Callable[[Answer, Array], Answer]
) -> Answer:
    """``price`` of the distinct rows of ``columns`` only, spread back over all rows by ``pick``.

    A hundred thousand strategies share a few hundred shapes of work; pricing those once is what makes a table cheap.
    """
    if len(columns[0]) == 1:
        return price(*(column.item() for column in columns))
    key = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        key = key * (int(column.max()) + 1) + column.astype(np.int64)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return pick(price(*(column[first] for column in columns)), inverse)


def combination_key(columns: tuple[Array, ...]) -> NDArray[np.int64]:
    """One number for each combination of up to four whole numbers below 2^15, the same in every table.

    >>> combination_key((np.array([1.0, 1.0]), np.array([2.0, 3.0]))).tolist()
    [32770, 32771]
    """
    key = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        key = (key << 15) + column.astype(np.int64)
    return key
