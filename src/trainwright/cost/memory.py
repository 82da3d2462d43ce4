"""The most memory a step needs on one device: the peak over its timeline, stage by stage, part by part.

Moments at which memory may peak: the backward of the last and of the first repeat of each block (for the head, that is
the loss), the end of backward with every gradient there, and the optimizer's update. Between those it moves in
straight lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from trainwright.cost.activations import (
    Keeper,
    backward_need_bytes,
    boundary_bytes,
    op_kept_bytes,
    pair_bytes,
    results_bytes,
)
from trainwright.cost.inflight import Array, Residence, residence
from trainwright.cost.memory_rules import MemoryRules
from trainwright.cost.states import StateBytes, Weights, on_device, state_bytes, trained_parameters, weights
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import Attention, Block, CrossEntropy, Lookup, ModelSpec, Op
from trainwright.units import Number

MEMORY_PARTS = (
    "parameters", "gradients", "optimizer", "activations", "logits", "communication", "workspace", "temporary",
)  # fmt: skip
"""The parts of a step's memory, in the order reports show them."""

Parts = Mapping[str, Number]
_COUNTS = ("dp", "tp", "cp", "pp", "ep", "micro_batch", "virtual_stages", "shard")


def step_memory(
    model: ModelSpec, workload: Workload, strategy: Strategy, rules: MemoryRules
) -> tuple[Parts, tuple[Parts, ...]]:
    """Bytes by part at the peak of the fullest stage, and at that of each stage, as torch's allocator counts them.

    Counts of ``strategy`` may be arrays of one length; then every figure is such an array. Stages: the first, one
    between, the last. Ignores fragmentation and what lives outside the allocator (memory_rules.py adds those).
    """
    moments = _moments(_step(model, workload, strategy, rules))
    totals = np.stack([sum(moment.values(), start=np.zeros(())) for moment in moments])
    when = np.argmax(totals, axis=0)[None]
    stages = {part: _pick(np.stack([moment[part] for moment in moments]), when) for part in MEMORY_PARTS}
    where = np.argmax(np.max(totals, axis=0), axis=0)[None]
    fullest = {part: _pick(values, where) for part, values in stages.items()}
    is_scalar = all(np.ndim(getattr(strategy, name)) == 0 for name in _COUNTS)
    each = [{part: values[i] for part, values in stages.items()} for i in range(totals.shape[1])]
    return _out(fullest, is_scalar), tuple(_out(parts, is_scalar) for parts in each)


def peak_bytes(model: ModelSpec, workload: Workload, strategy: Strategy, rules: MemoryRules) -> Number:
    """The total of ``step_memory`` alone: most bytes of the fullest stage, without saying where they are."""
    peak: Number = 0.0
    for moment in _moments(_step(model, workload, strategy, rules)):
        peak = np.maximum(peak, np.max(sum(moment.values(), start=np.zeros(())), axis=0))
    return peak


def _pick(values: Array, index: Array) -> Array:
    chosen: Array = np.take_along_axis(values, index, axis=0)[0]
    return chosen


def _out(parts: Mapping[str, Array], is_scalar: bool) -> Parts:
    return {part: float(np.ravel(value)[0]) if is_scalar else value for part, value in parts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockMemory:
    """One repeat of a block: bytes stored until backward, kept once recomputed, most in backward, its states.

    ``peak`` counts what is kept too; ``logits`` is the loss's share of it; ``boundary`` is the gradient that waits on
    the residual path meanwhile.
    """

    stored: Number
    kept: Number
    peak: Number
    logits: Number
    boundary: Number
    state: StateBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A step's blocks and where they lie; ``tied`` is what two blocks count and one stage with both holds once.

    ``fresh``: whether gradients start from nothing in the backward that peaks (one micro-batch, no buffers).
    """

    keeper: Keeper
    where: Residence
    blocks: tuple[BlockMemory, ...]
    tied: StateBytes
    fresh: Array
    optimizer_temporary: Number
    largest_gradient: Number


def _step(model: ModelSpec, workload: Workload, strategy: Strategy, rules: MemoryRules) -> _Step:
    keeper = Keeper(strategy=strategy, rules=rules, seq=float(workload.seq))
    n_micro = np.maximum(workload.global_batch / (np.asarray(strategy.dp, dtype=float) * strategy.micro_batch), 1.0)
    fresh = np.logical_and(rules.fresh_gradients, n_micro <= 1.0)
    held = [weights(block, workload) for block in model.blocks]
    blocks = [_block(block, w, workload, keeper, fresh) for block, w in zip(model.blocks, held, strict=True)]
    twice = np.array([0.0, model.n_tied_parameters, 0.0])
    is_trained = workload.objective != "lora"
    tied = Weights(held=twice, trained=twice * is_trained, moments=twice * is_trained * _moments_share(held))
    return _Step(
        keeper=keeper,
        where=residence(model, strategy, n_micro),
        blocks=tuple(blocks),
        tied=state_bytes(tied, keeper),
        fresh=fresh,
        optimizer_temporary=_optimizer_temporary(model, workload, keeper),
        largest_gradient=reduce(
            np.maximum, (_gradient_bytes(op, workload, keeper) for block in model.blocks for op in block.ops)
        ),
    )


def _moments_share(held: list[Weights]) -> float:
    """Moments per trained parameter of the first block, which holds the tied embedding."""
    trained = float(np.sum(held[0].trained))
    return float(np.sum(held[0].moments)) / trained if trained else 0.0


def _block(block: Block, held: Weights, workload: Workload, keeper: Keeper, fresh: Array) -> BlockMemory:
    """Walk the block's backward, last op first, for its peak.

    Eager sequence parallelism stops at the ends, which see whole sequences.
    """
    rules, strategy = keeper.rules, keeper.strategy
    if rules.saves == "eager" and strategy.sequence_parallel and is_end(block):
        keeper = replace(keeper, strategy=replace(strategy, sequence_parallel=False))
    each = [op_kept_bytes(op, keeper) for op in block.ops]
    kept = live = sum(each, start=np.zeros(()))
    peak: Number = 0.0
    logits: Number = 0.0
    made: Number = 0.0
    for op, own in zip(reversed(block.ops), reversed(each), strict=True):
        need = backward_need_bytes(op, keeper)
        gradient = _gradient_bytes(op, workload, keeper)
        made = made + gradient
        peak = np.maximum(peak, live + need + np.where(fresh, made, gradient))
        if isinstance(op, CrossEntropy):
            logits = own + need
        live = live - own
    stored = _stored(block, kept, keeper)
    if strategy.recompute == "full":
        stored = stored + (kept - stored) * (1.0 - 1.0 / strategy.recompute_every)
    held_logits = logits * rules.held_logit_bytes / max(rules.loss_bytes, 1.0)
    return BlockMemory(
        stored=stored + held_logits,
        kept=kept,
        peak=peak,
        logits=logits,
        boundary=boundary_bytes(block, keeper),
        state=state_bytes(held, keeper),
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
    if rules.attention == "flash":
        return kept
    return kept - sum((pair_bytes(op, keeper) for op in block.ops if isinstance(op, Attention)), start=0.0)


def is_end(block: Block) -> bool:
    """Whether a block is an end of the model: it looks tokens up or computes the loss."""
    return any(isinstance(op, Lookup | CrossEntropy) for op in block.ops)


def _gradient_bytes(op: Op, workload: Workload, keeper: Keeper) -> Number:
    """Bytes of the gradient that an op's backward makes, where none is waiting for it to be written into."""
    if not keeper.rules.fresh_gradients:
        return 0.0
    divided = op.split != "none"
    gradient = keeper.rules.gradient_bytes or keeper.compute_bytes
    return trained_parameters(op, workload) * gradient / (keeper.strategy.tp if divided else 1.0)


def _optimizer_temporary(model: ModelSpec, workload: Workload, keeper: Keeper) -> Number:
    """What the update needs on top: one state of every parameter (foreach), two of the largest (loop), or none."""
    how, strategy = keeper.rules.optimizer_temporary, keeper.strategy
    if how == "none":
        return 0.0
    if how == "all":
        trained = sum((weights(block, workload).trained * block.repeats for block in model.blocks), start=np.zeros(3))
        return keeper.rules.moment_bytes * on_device(trained, strategy, strategy.zero_stage >= 1) / strategy.pp
    largest = max(trained_parameters(op, workload) for block in model.blocks for op in block.ops)
    return 2.0 * keeper.rules.moment_bytes * largest / strategy.tp


def _sum(step: _Step, name: str) -> Array:
    """A field of the states summed over what each stage holds."""
    total = sum(
        (n * getattr(block.state, name) for n, block in zip(step.where.repeats, step.blocks, strict=True)),
        start=np.zeros(()),
    )
    both = np.minimum(step.where.repeats[0], step.where.repeats[-1]) if len(step.blocks) > 1 else 0.0
    left: Array = total - both * getattr(step.tied, name)
    return left


def _fixed(step: _Step) -> dict[str, Number]:
    """The parts that do not move during a step: states, gathered blocks and buckets, workspace."""
    rules, strategy = step.keeper.rules, step.keeper.strategy
    is_shared = np.asarray(strategy.dp, dtype=float) * strategy.cp > 1
    communication: Number = rules.bucket_share * _sum(step, "gradients") * is_shared
    if strategy.zero_stage >= 3:
        gathered = reduce(np.maximum, (block.state.gathered for block in step.blocks))
        whole = reduce(np.maximum, (block.state.whole_gradients for block in step.blocks))
        communication = communication + rules.gathered_blocks * gathered + rules.scattered_blocks * whole
    return {
        "parameters": _sum(step, "parameters"),
        "optimizer": _sum(step, "optimizer"),
        "communication": communication,
        "workspace": rules.workspace_bytes,
    }


def _join(step: _Step) -> Number:
    """The bucket that gradients are joined in after backward, where the stack makes one: at least one parameter's."""
    everything, strategy = _sum(step, "gradients"), step.keeper.strategy
    is_shared = np.asarray(strategy.dp, dtype=float) * strategy.cp > 1
    bucket = np.maximum(step.keeper.rules.join_bytes, step.largest_gradient)
    return np.minimum(bucket, everything) * np.logical_and(is_shared, step.keeper.rules.join_bytes > 0)


def _moments(step: _Step) -> list[dict[str, Array]]:
    """Memory by part at each moment that may be the peak, (stages, candidates) each.

    From the last block backwards: ``alive`` is what is stored of all micro-batches in flight, ``made`` the gradients
    that this backward has produced. A tied table's two gradients wait for each other, and are then added into a third.
    """
    fixed, everything = _fixed(step), _sum(step, "gradients")
    placed = list(zip(step.where.repeats, step.blocks, strict=True))
    alive: Number = sum((n * block.stored for n, block in placed), start=np.zeros(())) * step.where.in_flight
    tied = (
        step.tied.gradients * step.keeper.rules.fresh_gradients * np.minimum(step.where.repeats[0], step.where.is_last)
    )
    waiting = np.where(step.fresh, 0.0, tied)
    made: Number = 0.0
    found: list[dict[str, Number]] = []
    for n, block in reversed(placed):
        for before in (0.0, np.maximum(n - 1.0, 0.0)):  # the last repeat, then the first
            ready = np.where(step.fresh, made + before * block.state.gradients, everything + waiting)
            now = _in_backward(block, alive - before * block.stored, np.minimum(n, 1.0))
            found.append({**fixed, **now, "gradients": ready})
        made = made + n * block.state.gradients
        alive = alive - n * block.stored
    end = {"activations": alive, "logits": 0.0, "temporary": 2.0 * tied + waiting}
    update = {"activations": 0.0, "logits": 0.0, "temporary": np.maximum(step.optimizer_temporary, _join(step))}
    found += [{**fixed, **end, "gradients": everything}, {**fixed, **update, "gradients": everything}]
    widest = np.broadcast_shapes(*(np.shape(value) for moment in found for value in moment.values()))
    return [{part: np.broadcast_to(value, widest) for part, value in moment.items()} for moment in found]


def _in_backward(block: BlockMemory, alive: Number, present: Number) -> dict[str, Number]:
    """What a block's backward holds: what is stored elsewhere, its own kept tensors, stored or recomputed, the rest."""
    logits = np.minimum(block.logits, block.peak)
    own = np.minimum(block.kept, block.peak - logits)
    return {
        "activations": alive + present * (own - block.stored),
        "logits": present * logits,
        "temporary": present * (block.peak - own - logits + block.boundary),
    }
