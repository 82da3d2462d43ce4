"""A block's backward, walked op by op: what is stored until then, what is kept, and the most it needs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from trainwright.cost.activations import (
    Keeper,
    backward_need_bytes,
    boundary_bytes,
    each_kept_bytes,
    op_dropped_bytes,
    pair_bytes,
    results_bytes,
)
from trainwright.cost.inflight import Array
from trainwright.cost.numbers import either, larger, smaller
from trainwright.cost.states import trained_parameters
from trainwright.cost.table import once_per_combination
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import Attention, Block, CrossEntropy, Lookup, ModelSpec, Op
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockMemory:
    """One repeat of a block: bytes stored until backward, kept once recomputed, most in backward.

    ``peak`` counts what is kept too; ``logits`` is the loss's share of it; ``boundary`` is the gradient that waits on
    the residual path meanwhile, and ``sent`` what a pipeline hands to the next stage (nothing between an end and its
    neighbour).
    """

    stored: Number
    kept: Number
    peak: Number
    logits: Number
    boundary: Number
    sent: Number


def walk_blocks(model: ModelSpec, workload: Workload, keeper: Keeper, fresh: Array) -> tuple[BlockMemory, ...]:
    """Every block, walked once for each distinct shape of work in the table; ``fresh``: backward makes gradients."""
    strategy = keeper.strategy
    counts = (strategy.micro_batch, strategy.tp, strategy.cp, strategy.recompute_every)
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(count)) for count in counts), fresh)

    def walk(*shapes: Array) -> tuple[BlockMemory, ...]:
        micro_batch, tp, cp, every, is_fresh = shapes
        one: Strategy = replace(strategy, micro_batch=micro_batch, tp=tp, cp=cp, recompute_every=every)
        at = replace(keeper, strategy=one)
        return tuple(_block(block, workload, at, is_fresh) for block in model.blocks)

    if columns[0].size == 1:  # plain numbers are several times as fast as arrays of one
        return walk(*(column[0].item() for column in columns))
    return once_per_combination(tuple(columns), walk, _spread)


def _spread(blocks: tuple[BlockMemory, ...], index: Array) -> tuple[BlockMemory, ...]:
    names = [item.name for item in fields(BlockMemory)]
    return tuple(
        BlockMemory(**{n: value[index] if np.ndim(value := getattr(b, n)) else value for n in names}) for b in blocks
    )


def _block(block: Block, workload: Workload, keeper: Keeper, fresh: Array | bool) -> BlockMemory:
    """Walk the block's backward, last op first, for its peak.

    Eager sequence parallelism stops at the ends, which see whole sequences.
    """
    rules, strategy = keeper.rules, keeper.strategy
    if rules.keeps_gathered and strategy.sequence_parallel and is_end(block):
        keeper = replace(keeper, strategy=replace(strategy, sequence_parallel=False))
    each = each_kept_bytes(block, keeper)
    kept: Number = sum(each, start=0.0)
    live = kept
    peak: Number = 0.0
    logits: Number = 0.0
    made: Number = 0.0
    for op, own in zip(reversed(block.ops), reversed(each), strict=True):
        need = backward_need_bytes(op, keeper)
        gradient = gradient_bytes(op, workload, keeper)
        made = made + gradient
        peak = larger(peak, live + need + either(fresh, made, gradient))
        if isinstance(op, CrossEntropy):
            logits = own + need
        live = live - own
    stored = _stored(block, kept, keeper)
    if strategy.recompute != "none":
        stored = stored + (kept - stored) * (1.0 - 1.0 / strategy.recompute_every)
    held_logits = logits * rules.held_logit_bytes / max(rules.loss_bytes, 1.0)
    boundary = boundary_bytes(block, keeper)
    return BlockMemory(
        stored=stored + held_logits,
        kept=kept,
        peak=peak,
        logits=logits,
        boundary=boundary,
        sent=0.0 if is_end(block) else boundary,
    )


def _stored(block: Block, kept: Number, keeper: Keeper) -> Number:
    """What is stored until backward: all that is kept, or less where it is recomputed. The ends never are."""
    recompute, rules = keeper.strategy.recompute, keeper.rules
    if recompute == "none" or is_end(block):
        return kept
    if recompute == "full":
        return boundary_bytes(block, keeper)
    if rules.selective == "results":
        return boundary_bytes(block, keeper) + results_bytes(block, keeper)
    if rules.selective == "ops":
        return kept - sum((op_dropped_bytes(op, keeper) for op in block.ops), start=0.0)
    if rules.attention == "flash":
        return kept
    return kept - sum((pair_bytes(op, keeper) for op in block.ops if isinstance(op, Attention)), start=0.0)


def is_end(block: Block) -> bool:
    """Whether a block is an end of the model: it looks tokens up or computes the loss."""
    return any(isinstance(op, Lookup | CrossEntropy) for op in block.ops)


def gradient_bytes(op: Op, workload: Workload, keeper: Keeper) -> Number:
    """Bytes of the gradient that an op's backward makes, where none is waiting for it to be written into."""
    if not keeper.rules.fresh_gradients:
        return 0.0
    divided = op.split != "none"
    gradient = keeper.rules.gradient_bytes or keeper.compute_bytes
    return trained_parameters(op, workload) * gradient / (keeper.strategy.tp if divided else 1.0)


def in_backward(block: BlockMemory) -> dict[str, Number]:
    """What a block's backward holds beside what is stored: its own kept tensors, the logits, the rest."""
    logits = smaller(block.logits, block.peak)
    own = smaller(block.kept, block.peak - logits)
    return {
        "activations": own - block.stored,
        "logits": logits,
        "temporary": block.peak - own - logits + block.boundary,
    }
