"""The most memory a step needs on one device: the peak over its timeline, stage by stage, part by part.

Moments at which memory may peak: the backward of the last and of the first repeat of each block (for the head, that is
the loss), the end of backward with every gradient there, and the optimizer's update. Between those it moves in
straight lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from trainwright.cost.activations import Keeper
from trainwright.cost.backward import BlockMemory, gradient_bytes, in_backward, walk_blocks
from trainwright.cost.inflight import Array, Pipeline, Residence, residence
from trainwright.cost.memory_rules import MemoryRules
from trainwright.cost.numbers import larger
from trainwright.cost.states import StateBytes, Weights, on_device, state_bytes, trained_parameters, weights
from trainwright.cost.table import spread
from trainwright.hardware.device import DTYPE_BYTES
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import ModelSpec
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
    held = _held(model, workload, strategy, rules)
    fixed, moments = _fixed(held), _moments(_flow(model, workload, strategy, rules, held.where), held)
    shape = np.broadcast_shapes(*(np.shape(v) for part in (fixed, *moments) for v in part.values()))
    moving = {part: _stacked([moment[part] for moment in moments], shape) for part in moments[0]}
    when = np.argmax(sum(moving.values(), start=np.zeros(())), axis=0)
    stage, candidate = np.arange(shape[0])[:, None], np.arange(shape[1])
    found = {part: values[when, stage, candidate] for part, values in moving.items()}
    stages = {part: spread(found.get(part, fixed.get(part, 0.0)), shape) for part in MEMORY_PARTS}
    where = np.argmax(sum(stages.values(), start=np.zeros(())), axis=0)
    fullest = {part: values[where, candidate] for part, values in stages.items()}
    is_scalar = all(np.ndim(getattr(strategy, name)) == 0 for name in _COUNTS)
    each = [{part: values[i] for part, values in stages.items()} for i in range(shape[0])]
    return _out(fullest, is_scalar), tuple(_out(parts, is_scalar) for parts in each)


def peak_bytes(model: ModelSpec, workload: Workload, strategy: Strategy, rules: MemoryRules) -> Number:
    """The total of ``step_memory`` alone: most bytes of the fullest stage, without saying where they are."""
    return together(activity(model, workload, strategy, rules), holdings(model, workload, strategy, rules))


Moving = tuple[Number, ...]
"""Bytes at moments of a step, (stages, candidates) each; moments between which only activations differ are one."""


def activity(model: ModelSpec, workload: Workload, strategy: Strategy, rules: MemoryRules) -> Moving:
    """Activations at each moment: what does not depend on how states are sharded or offloaded."""
    each = [moment.bytes for moment in _activities(_flow(model, workload, strategy, rules))]
    return tuple(each) if rules.fresh_gradients else (reduce(np.maximum, each[:-1]), each[-1])


def holdings(model: ModelSpec, workload: Workload, strategy: Strategy, rules: MemoryRules) -> Moving:
    """States, gradients and what comes with them at each moment: what does not depend on recomputation."""
    held = _held(model, workload, strategy, rules)
    fixed = sum(_fixed(held).values(), start=np.zeros(()))
    each = [fixed + gradients + temporary for gradients, temporary in _waiting(held)]
    return tuple(each) if rules.fresh_gradients else (each[0], each[-1])


def together(moving: Moving, held: Moving) -> Number:
    """Most bytes of the fullest stage at any moment."""
    peaks = [np.max(active + there, axis=0) for active, there in zip(moving, held, strict=True)]
    peak: Number = reduce(np.maximum, peaks)
    return peak


def _stacked(values: Sequence[Number], shape: tuple[int, ...]) -> Array:
    """Values of the same shape, or that widen to it, one behind the other."""
    stacked = np.empty((len(values), *shape))
    for index, value in enumerate(values):
        stacked[index] = value
    return stacked


def _out(parts: Mapping[str, Array], is_scalar: bool) -> Parts:
    return {part: float(np.ravel(value)[0]) if is_scalar else value for part, value in parts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flow:
    """The blocks of a step as activations see them, and where they lie.

    ``unseen``: what a trace saw alive in backward beyond what the walk over the blocks finds.
    """

    keeper: Keeper
    where: Residence
    blocks: tuple[BlockMemory, ...]
    unseen: Number = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """The states of a step's blocks; ``tied`` is what two blocks count and one stage with both holds once.

    ``fresh``: whether gradients start from nothing in the backward that peaks (one micro-batch, no buffers).
    """

    keeper: Keeper
    where: Residence
    states: tuple[StateBytes, ...]
    tied: StateBytes
    fresh: Array
    optimizer_temporary: Number
    largest_gradient: Number


def _n_micro(workload: Workload, strategy: Strategy) -> Array:
    """Micro-batches a replica does one after another."""
    each: Array = np.asarray(strategy.dp, dtype=float) * strategy.micro_batch
    return np.maximum(workload.global_batch / each, 1.0)


def _fresh(workload: Workload, strategy: Strategy, rules: MemoryRules) -> Array:
    """Whether the backward that peaks is the step's first, and makes its gradients."""
    fresh: Array = np.logical_and(rules.fresh_gradients, _n_micro(workload, strategy) <= 1.0)
    return fresh


def _flow(
    model: ModelSpec, workload: Workload, strategy: Strategy, rules: MemoryRules, where: Residence | None = None
) -> _Flow:
    walked = _walked(model, workload, strategy, rules, where)
    if model.peak is None or strategy.recompute != "none":
        return walked
    return replace(walked, unseen=_unseen(model, workload, strategy, rules))


UNSEEN = 0.8


def _unseen(model: ModelSpec, workload: Workload, strategy: Strategy, rules: MemoryRules) -> Number:
    """Bytes that a trace saw at its peak beyond the walk over the blocks, in one process and fp32.

    Negative where tensors go sooner than the walk lets them. Divided among ranks as activations are. At most UNSEEN of
    what the walk finds: a trace at other sizes may have peaked elsewhere.
    """
    assert model.peak is not None
    one, alone = replace(workload, global_batch=1), Strategy(micro_batch=strategy.micro_batch, precision="fp32")
    fresh = replace(rules, fresh_gradients=True)
    moving = [moment.bytes for moment in _activities(_walked(model, one, alone, fresh))]
    waiting = _waiting(_held(model, one, alone, fresh))
    moments = [a + g + t for a, (g, t) in zip(moving[:-1], waiting[:-1], strict=True)]
    found = reduce(np.maximum, (np.max(moment, axis=0) for moment in moments))
    seen = model.peak.at(np.asarray(strategy.micro_batch, dtype=float), float(workload.seq))
    share = DTYPE_BYTES[strategy.precision] / 4.0 / (np.asarray(strategy.tp, dtype=float) * strategy.pp)
    unseen: Number = share * np.clip(seen - found, -UNSEEN * found, UNSEEN * found)
    return unseen


def _walked(
    model: ModelSpec, workload: Workload, strategy: Strategy, rules: MemoryRules, where: Residence | None = None
) -> _Flow:
    keeper = Keeper(strategy=strategy, rules=rules, seq=float(workload.seq), widens=workload.quantized_base)
    return _Flow(
        keeper=keeper,
        where=where or residence(model, strategy, _n_micro(workload, strategy), _pipeline(rules)),
        blocks=walk_blocks(model, workload, keeper, _fresh(workload, strategy, rules)),
    )


def _held(model: ModelSpec, workload: Workload, strategy: Strategy, rules: MemoryRules) -> _Held:
    keeper = Keeper(strategy=strategy, rules=rules, seq=float(workload.seq))
    held = [weights(block, workload) for block in model.blocks]
    twice = np.array([0.0, model.n_tied_parameters, 0.0])
    is_trained = workload.objective != "lora"
    tied = Weights(
        held=twice,
        trained=twice * is_trained,
        moments=twice * is_trained * _moments_share(held),
        in_four_bits=0.0 * twice,
    )
    return _Held(
        keeper=keeper,
        where=residence(model, strategy, _n_micro(workload, strategy), _pipeline(rules)),
        states=tuple(state_bytes(block, keeper) for block in held),
        tied=state_bytes(tied, keeper),
        fresh=_fresh(workload, strategy, rules),
        optimizer_temporary=_optimizer_temporary(model, workload, keeper),
        largest_gradient=reduce(
            larger, (gradient_bytes(op, workload, keeper) for block in model.blocks for op in block.ops)
        ),
    )


def _pipeline(rules: MemoryRules) -> Pipeline:
    return Pipeline(
        scale=rules.in_flight_scale,
        more=rules.in_flight_more,
        is_even=rules.even_in_flight,
        spreads_ends=rules.spread_ends,
    )


def _moments_share(held: list[Weights]) -> float:
    """Moments per trained parameter of the first block that trains any, which holds a tied embedding."""
    for each in held:
        if float(np.sum(each.trained)):
            return float(np.sum(each.moments)) / float(np.sum(each.trained))
    return 0.0


def _optimizer_temporary(model: ModelSpec, workload: Workload, keeper: Keeper) -> Number:
    """What the update needs on top: one state of every parameter (foreach), two of the largest (loop), or none."""
    how, strategy = keeper.rules.optimizer_temporary, keeper.strategy
    if how == "none":
        return 0.0
    if how in ("all", "twice all"):
        trained = sum((weights(block, workload).trained * block.repeats for block in model.blocks), start=np.zeros(3))
        copies = 2.0 if how == "twice all" else 1.0
        return copies * keeper.rules.moment_bytes * on_device(trained, strategy, strategy.zero_stage >= 1) / strategy.pp
    largest = max(trained_parameters(op, workload) for block in model.blocks for op in block.ops)
    return 2.0 * keeper.rules.moment_bytes * largest / strategy.tp


def _sum(step: _Held, name: str) -> Array:
    """A field of the states summed over what each stage holds."""
    total = sum(
        (n * getattr(state, name) for n, state in zip(step.where.repeats, step.states, strict=True)),
        start=np.zeros(()),
    )
    both = np.minimum(np.minimum(step.where.repeats[0], step.where.repeats[-1]), 1.0)
    left: Array = total - both * getattr(step.tied, name)
    return left


def _fixed(step: _Held) -> dict[str, Number]:
    """The parts that do not move during a step: states, gathered blocks and buckets, workspace."""
    rules, strategy = step.keeper.rules, step.keeper.strategy
    is_shared = np.asarray(strategy.dp, dtype=float) * strategy.cp > 1
    communication: Number = rules.bucket_share * _sum(step, "gradients") * is_shared
    if strategy.zero_stage >= 3:
        gathered = reduce(larger, (state.gathered for state in step.states))
        whole = reduce(larger, (state.whole_gradients for state in step.states))
        if rules.keeps_whole:  # the shards of the gradients are not there until the last micro-batch
            communication += _sum(step, "gathered") + _sum(step, "whole_gradients") - _sum(step, "gradients")
        else:
            communication += rules.gathered_blocks * gathered + rules.scattered_blocks * whole
    return {
        "parameters": _sum(step, "parameters"),
        "optimizer": _sum(step, "optimizer"),
        "communication": communication,
        "workspace": rules.workspace_bytes,
    }


def _join(step: _Held) -> Number:
    """The bucket that gradients are joined in after backward, where the stack makes one: at least one parameter's."""
    everything, strategy = _sum(step, "gradients"), step.keeper.strategy
    is_shared = np.asarray(strategy.dp, dtype=float) * strategy.cp > 1
    bucket = np.maximum(step.keeper.rules.join_bytes, step.largest_gradient)
    return np.minimum(bucket, everything) * np.logical_and(is_shared, step.keeper.rules.join_bytes > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Activity:
    """Activations at a moment that may be the peak: of all that is stored, and of the block at work.

    ``here``: parts of the block at work, (candidates,), on stages where it is ``present``; else (stages, candidates).
    """

    elsewhere: Number
    present: Number
    here: Mapping[str, Number]

    @property
    def bytes(self) -> Number:
        """All of it."""
        return self.elsewhere + self.present * sum(self.here.values(), start=0.0)

    @property
    def parts(self) -> dict[str, Number]:
        """By part."""
        parts = {name: self.present * size for name, size in self.here.items()}
        parts["activations"] = self.elsewhere + parts["activations"]
        return parts


def _moments(flow: _Flow, held: _Held) -> list[dict[str, Number]]:
    """What moves at each moment that may be the peak, by part."""
    found = []
    for active, (gradients, temporary) in zip(_activities(flow), _waiting(held), strict=True):
        parts = active.parts
        found.append(parts | {"gradients": gradients, "temporary": parts["temporary"] + temporary})
    return found


def _activities(flow: _Flow) -> list[_Activity]:
    """From the last block backwards, the backward of its last repeat, then of its first; the end; the update.

    ``alive`` is what is stored of all micro-batches in flight.
    """
    placed = list(zip(flow.where.repeats, flow.blocks, strict=True))
    alive: Number = sum((n * block.stored for n, block in placed), start=np.zeros(())) * flow.where.in_flight
    alive = alive + _buffers(flow)
    found: list[_Activity] = []
    for n, block in reversed(placed):
        here, present = in_backward(block), np.minimum(n, 1.0)
        for before in (0.0, np.maximum(n - 1.0, 0.0)):
            walked = _Activity(elsewhere=alive - before * block.stored, present=present, here=here)
            unseen = np.maximum(flow.unseen, -walked.bytes)
            found.append(replace(walked, elsewhere=walked.elsewhere + unseen))
        alive = alive - n * block.stored
    nothing = {"activations": 0.0, "logits": 0.0, "temporary": 0.0}
    end = _Activity(elsewhere=alive + flow.unseen, present=1.0, here=nothing)
    return [*found, end, _Activity(elsewhere=0.0, present=1.0, here=nothing)]


def _buffers(flow: _Flow) -> Number:
    """What a pipeline stage takes in and gives out, where the stack keeps both until their backward."""
    many = np.asarray(flow.keeper.strategy.pp) > 1
    widest = reduce(larger, (block.sent for block in flow.blocks))
    return flow.keeper.rules.stage_buffers * widest * flow.where.in_flight * many


def _waiting(held: _Held) -> list[tuple[Number, Number]]:
    """Gradients, and what the update or their joining takes on top, at the moments of ``_activities``.

    ``made``: the gradients that this backward has produced. A tied table's two gradients wait for each other, and are
    then added into a third.
    """
    everything, fresh = _sum(held, "gradients"), held.keeper.rules.fresh_gradients
    update = np.maximum(held.optimizer_temporary, _join(held))
    if not fresh:
        return [(everything, 0.0)] * (2 * len(held.states) + 1) + [(everything, update)]
    tied = held.tied.gradients * np.minimum(held.where.repeats[0], held.where.is_last)
    waiting = np.where(held.fresh, 0.0, tied)
    made: Number = 0.0
    found: list[tuple[Number, Number]] = []
    for n, state in reversed(list(zip(held.where.repeats, held.states, strict=True))):
        for before in (0.0, np.maximum(n - 1.0, 0.0)):
            found.append((np.where(held.fresh, made + before * state.gradients, everything + waiting), 0.0))
        made = made + n * state.gradients
    return [*found, (everything, 2.0 * tied + waiting), (everything, update)]
