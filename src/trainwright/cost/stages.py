"""What each pipeline stage holds, and what one micro-batch costs there.

Arrays here have a leading axis of stages: the first, one that stands for all in the middle, and the last. The first
also holds what comes before the repeated blocks (embedding), the last what comes after (norm, head, loss). With
stages given one by one, each has its own row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields

import numpy as np

from trainwright.cost.block import BlockCost, added, block_cost
from trainwright.cost.shard import Arithmetic, Shard
from trainwright.cost.table import Array, Table, combination_key, once_per_combination
from trainwright.models.spec import Block, ModelSpec
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Costs by part of the model, and how many of each part every stage holds.

    ``before``, ``body`` (one repeat) and ``after`` are per micro-batch; ``has_before``, ``n_body`` and ``has_after``
    are (stages, candidates); ``weight`` is how many pipeline stages a row stands for.
    """

    before: BlockCost
    body: BlockCost
    after: BlockCost
    has_before: Array
    n_body: Array
    has_after: Array
    weight: Array

    @property
    def pieces(self) -> tuple[tuple[BlockCost, Array], ...]:
        """Each part's cost and how many of it every stage holds."""
        return ((self.before, self.has_before), (self.body, self.n_body), (self.after, self.has_after))

    def inner(self, name: str) -> Array:
        """A field of ``BlockCost`` summed over what each stage holds, all but what comes after the repeats."""
        answer: Array = getattr(self.before, name) * self.has_before + getattr(self.body, name) * self.n_body
        return answer

    def total(self, name: str) -> Array:
        """A field of ``BlockCost`` summed over what each stage holds."""
        answer: Array = sum(
            (getattr(cost, name) * held for cost, held in self.pieces), start=np.zeros_like(self.n_body)
        )
        return answer


def parts(model: ModelSpec) -> tuple[tuple[Block, ...], tuple[Block, ...], tuple[Block, ...]]:
    """The blocks before the repeated ones, the repeated ones, and those after."""
    repeated = [i for i, block in enumerate(model.blocks) if block.repeats > 1]
    if not repeated:
        return (), model.blocks, ()
    first, last = repeated[0], repeated[-1] + 1
    return model.blocks[:first], model.blocks[first:last], model.blocks[last:]


def n_repeats(blocks: tuple[Block, ...]) -> int:
    """Repeats in all."""
    return sum(block.repeats for block in blocks)


Price = Callable[..., tuple[BlockCost, ...]]


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Block costs at every shape of work met so far, for the many tables of one search.

    ``pages``: by precision, sequence parallelism and device, the sorted keys of the shapes and their costs.
    """

    pages: dict[tuple[str, bool, str], tuple[Array, tuple[BlockCost, ...]]] = field(default_factory=dict)

    def costs(
        self, table: Table, how: Arithmetic, price: Callable[..., tuple[BlockCost, ...]]
    ) -> tuple[BlockCost, ...]:
        """``price`` of every row, computed only for shapes that are not on the page yet."""
        columns = (table.micro_batch, table.tp, table.cp, table.ep)
        key = combination_key(columns)
        name = (how.low, table.strategy.sequence_parallel, how.device.name)
        known, costs = self.pages.get(name, (np.empty(0, dtype=np.int64), ()))
        at = np.searchsorted(known, key)
        if not len(known) or np.any(known[np.minimum(at, len(known) - 1)] != key):
            known = np.union1d(known, key)
            shapes = (known >> 45, (known >> 30) & 32767, (known >> 15) & 32767, known & 32767)
            costs = price(*(column.astype(float) for column in shapes))
            self.pages[name] = known, costs
            at = np.searchsorted(known, key)
        return _spread(costs, at)


def stages(model: ModelSpec, table: Table, how: Arithmetic, book: PriceBook | None = None) -> Stages:
    """The stages of every candidate, with their costs; from the ``book`` of a search where there is one."""
    before, body, after = parts(model)

    def price(micro_batch: Number, tp: Number, cp: Number, ep: Number) -> tuple[BlockCost, ...]:
        shard = Shard(
            batch=micro_batch,
            seq=float(table.workload.seq),
            tp=tp,
            cp=cp,
            ep=ep,
            sequence_parallel=table.strategy.sequence_parallel,
        )
        whole = _sum(body, shard, how).times(1.0 / n_repeats(body))
        return _sum(before, shard, how), whole, _sum(after, shard, how)

    if book is not None:
        costs = book.costs(table, how, price)
    elif table.n == 1:  # plain numbers are several times as fast as arrays of one
        costs = price(*(float(column[0]) for column in (table.micro_batch, table.tp, table.cp, table.ep)))
    else:
        costs = once_per_combination((table.micro_batch, table.tp, table.cp, table.ep), price, _spread)
    return Stages(before=costs[0], body=costs[1], after=costs[2], **_held(n_repeats(body), table))


def even_ends(n_blocks: float, pp: Array, virtual: Array) -> tuple[Array, Array, Array]:
    """(blocks of a pipeline's first process, the most of one between, of the last) as ``even_stages`` divides them.

    >>> [array.tolist() for array in even_ends(10, np.array([4.0, 2.0]), np.array([1.0, 2.0]))]
    [[2.0, 5.0], [3.0, 6.0], [2.0, 5.0]]
    """
    each = np.ceil(n_blocks / (pp * virtual))
    missing = each * pp * virtual - n_blocks
    early, late = np.floor(missing / 2), np.ceil(missing / 2)  # chunks with one block fewer, from either end
    first = each * virtual - np.ceil(early / pp) - np.floor(late / pp)
    last = each * virtual - np.ceil(late / pp) - np.floor(early / pp)
    return first, each * virtual - np.floor(early / pp) - np.floor(late / pp), last


def _sum(blocks: tuple[Block, ...], shard: Shard, how: Arithmetic) -> BlockCost:
    return added(block_cost(block, shard, how).times(float(block.repeats)) for block in blocks)


def _spread(costs: tuple[BlockCost, ...], inverse: Array) -> tuple[BlockCost, ...]:
    return tuple(
        BlockCost(**{f.name: v[inverse] if np.ndim(v := getattr(cost, f.name)) else v for f in fields(cost)})
        for cost in costs
    )


def _held(n_body: int, table: Table) -> dict[str, Array]:
    """Blocks per stage: as given, or as even as can be; the row between the ends stands for fewer than its number."""
    one = np.ones(table.n)
    if table.strategy.stages is not None:
        held = np.reshape(np.array(table.strategy.stages, dtype=float), (-1, int(table.pp[0]))).sum(axis=0)
        counts = held[:, None] * one
        ends = np.zeros_like(counts)
        first, last = ends.copy(), ends.copy()
        first[0], last[-1] = 1.0, 1.0
        return {"has_before": first, "n_body": counts, "has_after": last, "weight": np.ones_like(counts)}
    pp = table.pp
    n_first, most, n_last = even_ends(n_body, pp, table.virtual_stages)
    alone = pp == 1
    between = np.where(pp > 2, (n_body - n_first - n_last) / most, 0.0)
    none = np.zeros(table.n)
    return {
        "has_before": np.stack([one, none, none]),
        "n_body": np.stack([np.where(alone, n_body, np.maximum(n_first, 0.0)), most, np.maximum(n_last, 0.0)]),
        "has_after": np.stack([np.where(alone, one, none), none, one]),
        "weight": np.stack([one, between, np.where(alone, none, one)]),
    }
