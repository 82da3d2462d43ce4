"""The most memory a step needs on one device: the peak over its timeline, stage by stage, part by part.

Moments at which memory may peak: the backward of the last and of the first repeat of each block (for the head, that is
the loss), the end of backward with every gradient there, and the optimizer's update. Between those it moves in
straight lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
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
from trainwright.cost.table import once_per_combination
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
    step = _step(model, workload, strategy, rules)
    moments = _whole(_fixed(step), _moments(step))
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
    step = _step(model, workload, strategy, rules)
    moving: Number = 0.0
    for moment in _moments(step):
        moving = np.maximum(moving, moment.total)
    peak: Number = np.max(sum(_fixed(step).values(), start=0.0) + moving, axis=0)
    return peak


def _pick(values: Array, index: Array) -> Array:
    chosen: Array = np.take_along_axis(values, index, axis=0)[0]
    return chosen


def _out(parts: Mapping[str, Array], is_scalar: bool) -> Parts:
    return {part: float(np.ravel(value)[0]) if is_scalar else value for part, value in parts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockMemory:
    """One repeat of a block: bytes stored until backward, kept once recomputed, most in backward.

    ``peak`` counts what is kept too; ``logits`` is the loss's share of it; ``boundary`` is the gradient that waits on
    the residual path meanwhile.
    """

    stored: Number
    kept: Number
    peak: Number
    logits: Number
    boundary: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A step's blocks and where they lie; ``tied`` is what two blocks count and one stage with both holds once.

    ``fresh``: whether gradients start from nothing in the backward that peaks (one micro-batch, no buffers).
    """

    keeper: Keeper
    where: Residence
    blocks: tuple[BlockMemory, ...]
    states: tuple[StateBytes, ...]
    tied: StateBytes
    fresh: Array
    optimizer_temporary: Number
    largest_gradient: Number


def _step(model: ModelSpec, workload: Workload, strategy: Strategy, rules: MemoryRules) -> _Step:
    keeper = Keeper(strategy=strategy, rules=rules, seq=float(workload.seq))
    n_micro = np.maximum(workload.global_batch / (np.asarray(strategy.dp, dtype=float) * strategy.micro_batch), 1.0)
    fresh = np.logical_and(rules.fresh_gradients, n_micro <= 1.0)
    held = [weights(block, workload) for block in model.blocks]
    twice = np.array([0.0, model.n_tied_parameters, 0.0])
    is_trained = workload.objective != "lora"
    tied = Weights(
        held=twice,
        trained=twice * is_trained,
        moments=twice * is_trained * _moments_share(held),
        in_four_bits=0.0 * twice,
    )
    return _Step(
        keeper=keeper,
        where=residence(model, strategy, n_micro),
        blocks=_blocks(model, workload, keeper, fresh),
        states=tuple(state_bytes(block, keeper) for block in held),
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


def _blocks(model: ModelSpec, workload: Workload, keeper: Keeper, fresh: Array) -> tuple[BlockMemory, ...]:
    """Every block, walked once for each distinct shape of work in the table."""
    strategy = keeper.strategy
    counts = (strategy.micro_batch, strategy.tp, strategy.cp, strategy.recompute_every)
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(count)) for count in counts), fresh)

    def walk(*shapes: Array) -> tuple[BlockMemory, ...]:
        micro_batch, tp, cp, every, is_fresh = shapes
        one: Strategy = replace(strategy, micro_batch=micro_batch, tp=tp, cp=cp, recompute_every=every)
        at = replace(keeper, strategy=one)
        return tuple(_block(block, workload, at, is_fresh.astype(np.bool_)) for block in model.blocks)

    return once_per_combination(tuple(columns), walk, _spread)


def _spread(blocks: tuple[BlockMemory, ...], index: Array) -> tuple[BlockMemory, ...]:
    names = [item.name for item in fields(BlockMemory)]
    return tuple(
        BlockMemory(**{n: value[index] if np.ndim(value := getattr(b, n)) else value for n in names}) for b in blocks
    )


def _block(block: Block, workload: Workload, keeper: Keeper, fresh: Array) -> BlockMemory:
    """Walk the block's backward, last op first, for its peak.

    Eager sequence parallelism stops at the ends, which see whole sequences.
    """
    rules, strategy = keeper.rules, keeper.strategy
    if rules.keeps_gathered and strategy.sequence_parallel and is_end(block):
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
    if strategy.recompute != "none":
        stored = stored + (kept - stored) * (1.0 - 1.0 / strategy.recompute_every)
    held_logits = logits * rules.held_logit_bytes / max(rules.loss_bytes, 1.0)
    return BlockMemory(
        stored=stored + held_logits,
        kept=kept,
        peak=peak,
        logits=logits,
        boundary=boundary_bytes(block, keeper),
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
        (n * getattr(state, name) for n, state in zip(step.where.repeats, step.states, strict=True)),
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
        gathered = reduce(np.maximum, (state.gathered for state in step.states))
        whole = reduce(np.maximum, (state.whole_gradients for state in step.states))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """Memory that moves, at a moment that may be the peak.

    ``elsewhere``: activations of all that is stored; ``here``: parts of the block at work, on stages where it is
    ``present``; ``gradients``: those that are there. (stages, candidates), but ``here``: (candidates,).
    """

    elsewhere: Number
    present: Number
    here: Mapping[str, Number]
    gradients: Number

    @property
    def total(self) -> Number:
        """All of it."""
        return self.elsewhere + self.present * sum(self.here.values(), start=0.0) + self.gradients

    @property
    def parts(self) -> dict[str, Number]:
        """By part."""
        parts = {name: self.present * size for name, size in self.here.items()}
        parts["activations"] = self.elsewhere + parts["activations"]
        return parts | {"gradients": self.gradients}


def _whole(fixed: Mapping[str, Number], moments: list[_Moment]) -> list[dict[str, Array]]:
    """Every part at every moment, (stages, candidates) each."""
    found = [{**fixed, **moment.parts} for moment in moments]
    widest = np.broadcast_shapes(*(np.shape(value) for moment in found for value in moment.values()))
    return [{part: np.broadcast_to(value, widest) for part, value in moment.items()} for moment in found]


def _moments(step: _Step) -> list[_Moment]:
    """Each moment that may be the peak.

    From the last block backwards: ``alive`` is what is stored of all micro-batches in flight, ``made`` the gradients
    that this backward has produced. A tied table's two gradients wait for each other, and are then added into a third.
    """
    everything, fresh = _sum(step, "gradients"), step.keeper.rules.fresh_gradients
    placed = list(zip(step.where.repeats, step.blocks, step.states, strict=True))
    alive: Number = sum((n * block.stored for n, block, _ in placed), start=np.zeros(())) * step.where.in_flight
    tied: Number = 0.0
    if fresh:
        tied = step.tied.gradients * np.minimum(step.where.repeats[0], step.where.is_last)
    waiting = np.where(step.fresh, 0.0, tied) if fresh else 0.0
    made: Number = 0.0
    found: list[_Moment] = []
    for n, block, state in reversed(placed):
        here, present = _in_backward(block), np.minimum(n, 1.0)
        for before in (0.0, np.maximum(n - 1.0, 0.0)):  # the last repeat, then the first
            there = everything + waiting
            if fresh:
                there = np.where(step.fresh, made + before * state.gradients, there)
            elsewhere = alive - before * block.stored
            found.append(_Moment(elsewhere=elsewhere, present=present, here=here, gradients=there))
        made = made + n * state.gradients
        alive = alive - n * block.stored
    end = {"activations": 0.0, "logits": 0.0, "temporary": 2.0 * tied + waiting}
    update = {"activations": 0.0, "logits": 0.0, "temporary": np.maximum(step.optimizer_temporary, _join(step))}
    found.append(_Moment(elsewhere=alive, present=1.0, here=end, gradients=everything))
    return [*found, _Moment(elsewhere=0.0, present=1.0, here=update, gradients=everything)]


def _in_backward(block: BlockMemory) -> dict[str, Number]:
    """What a block's backward holds beside what is stored: its own kept tensors, the logits, the rest."""
    logits = np.minimum(block.logits, block.peak)
    own = np.minimum(block.kept, block.peak - logits)
    return {
        "activations": own - block.stored,
        "logits": logits,
        "temporary": block.peak - own - logits + block.boundary,
    }
