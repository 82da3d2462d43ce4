"""What makes a strategy impossible: one list of rules, on one strategy or on a table of them.

A rule says where it is broken, as a mask over the table; a single strategy is a table of one row. The search drops rows
by the same masks that a hand-made plan is refused by. Every refusal tells the fact in numbers and the nearest value of
one axis that would put it right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.hardware.cluster import Cluster
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import OFFLOADS, PRECISIONS, RECOMPUTES, SCHEDULES, Strategy
from trainwright.models.spec import ModelSpec
from trainwright.plan.facts import Facts, gather_facts

Mask = NDArray[np.bool_]
NUMERIC = ("dp", "tp", "cp", "pp", "ep", "micro_batch", "shard", "virtual_stages", "recompute_every")
CHOICES: dict[str, tuple[Any, ...]] = {
    "zero_stage": (0, 1, 2, 3),
    "sequence_parallel": (False, True),
    "cp_kind": ("ring", "all_to_all"),
    "schedule": SCHEDULES,
    "recompute": RECOMPUTES,
    "precision": PRECISIONS,
    "offload": OFFLOADS,
}
"""The values of every axis that is a choice rather than a count."""


class Reason(StrEnum):
    """Why a strategy cannot be; closed."""

    POSITIVE = "a degree below one"
    DEVICES = "more devices than there are"
    TP_MODEL = "the model does not split"
    TP_HEADS = "heads do not divide"
    TP_KV_HEADS = "key-value heads do not divide"
    TP_NODE = "tensor parallelism leaves the node"
    SP_TP = "sequence parallelism without tensor parallelism"
    SP_SEQ = "the sequence does not divide over tp"
    CP_MODEL = "context parallelism without attention"
    CP_SEQ = "the sequence does not divide over cp"
    CP_HEADS = "heads do not divide over cp"
    EP_MODEL = "expert parallelism without experts"
    EP_EXPERTS = "experts do not divide"
    EP_RANKS = "expert ranks do not fit inside dp and cp"
    BATCH = "the batch does not divide"
    STAGES = "more pipeline stages than blocks"
    STAGE_LIST = "the list of stages does not add up"
    VIRTUAL = "virtual stages without an interleaved pipeline"
    MICRO_BATCHES = "micro-batches do not suit the schedule"
    SHARD = "the sharding group does not divide dp"
    DTYPE = "the device lacks the precision"
    OFFLOAD = "offload without need"
    RECOMPUTE_EVERY = "recomputation of every k-th block"
    ORDER = "the order of axes is not one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why not, in numbers, and the nearest change that would do (None: no value of that axis alone would)."""

    reason: Reason
    message: str
    advice: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``broken`` masks the rows that break it; ``message`` tells it of one strategy; ``axis`` is what to change."""

    reason: Reason
    axis: str
    broken: Callable[[Strategy, Facts], Any]
    message: Callable[[Strategy, Facts], str]


def n_micro_batches(strategy: Strategy, facts: Facts) -> Any:
    """Micro-batches one replica does in a step, rounded down."""
    return facts.global_batch // np.maximum(1, np.multiply(strategy.dp, strategy.micro_batch))


def _below_one(strategy: Strategy, facts: Facts) -> Any:
    counts = (getattr(strategy, axis) for axis in NUMERIC if getattr(strategy, axis) is not None)
    return np.any(np.stack(np.broadcast_arrays(*(np.less(count, 1) for count in counts))), axis=0)


def _small(strategy: Strategy) -> str:
    counts = {axis: getattr(strategy, axis) for axis in NUMERIC}
    return ", ".join(f"{axis} {count}" for axis, count in counts.items() if count is not None and count < 1)


def _batch_uneven(strategy: Strategy, facts: Facts) -> Any:
    return np.not_equal(facts.global_batch % np.maximum(1, np.multiply(strategy.dp, strategy.micro_batch)), 0)


def _stage_list_wrong(strategy: Strategy, facts: Facts) -> Any:
    if strategy.stages is None:
        return False
    wrong_sum = sum(strategy.stages) != facts.n_layers or min(strategy.stages) < 1
    return np.not_equal(len(strategy.stages), np.multiply(strategy.pp, strategy.virtual_stages)) | wrong_sum


def _virtual_wrong(strategy: Strategy, facts: Facts) -> Any:
    if strategy.schedule == "interleaved":
        return np.less(strategy.virtual_stages, 2) | np.less(strategy.pp, 2)
    return np.greater(strategy.virtual_stages, 1)


def _too_few_micro_batches(strategy: Strategy, facts: Facts) -> Any:
    micro_batches = n_micro_batches(strategy, facts)
    if strategy.schedule == "interleaved":
        return np.not_equal(micro_batches % np.maximum(1, strategy.pp), 0)
    return (strategy.schedule == "zero_bubble") & np.less(micro_batches, strategy.pp)


def _shard_wrong(strategy: Strategy, facts: Facts) -> Any:
    if strategy.shard is None:
        return False
    return np.not_equal(np.asarray(strategy.dp) % np.maximum(1, strategy.shard), 0) | (strategy.zero_stage == 0)


def _offload_pointless(strategy: Strategy, facts: Facts) -> Any:
    return strategy.offload != "none" and (
        facts.is_cpu or (strategy.offload == "parameters" and strategy.zero_stage < 3)
    )


def _every_wrong(strategy: Strategy, facts: Facts) -> Any:
    many = np.greater(strategy.recompute_every, 1)
    return many & (np.greater(strategy.recompute_every, facts.n_layers) | (strategy.recompute == "none"))


def _remainder(count: int, *degrees: Any) -> Any:
    """Whether count does not divide by the product of the degrees."""
    return np.not_equal(count % np.maximum(1, np.prod(np.stack(np.broadcast_arrays(*degrees)), axis=0)), 0)


def _nearest_multiple(count: int, step: int) -> int:
    """The nearest multiple of step, at least one step.

    >>> _nearest_multiple(13, 8), _nearest_multiple(3, 8)
    (16, 8)
    """
    return max(step, int((count + step / 2) // step) * step)


_AXES = {"tp", "cp", "ep", "dp", "pp"}

RULES: tuple[Rule, ...] = (
    Rule(
        reason=Reason.POSITIVE,
        axis="micro_batch",
        broken=_below_one,
        message=lambda s, f: f"{_small(s)}: every degree and batch is at least 1",
    ),
    Rule(
        reason=Reason.DEVICES,
        axis="dp",
        broken=lambda s, f: np.greater(s.n_devices, f.n_devices),
        message=lambda s, f: (
            f"dp {s.dp} x tp {s.tp} x cp {s.cp} x pp {s.pp} = {s.n_devices} devices, {f.n_devices} there"
        ),
    ),
    Rule(
        reason=Reason.TP_MODEL,
        axis="tp",
        broken=lambda s, f: np.greater(s.tp, 1) & (not f.splits),
        message=lambda s, f: f"tp {s.tp}: no op of the model says how it divides",
    ),
    Rule(
        reason=Reason.TP_HEADS,
        axis="tp",
        broken=lambda s, f: _remainder(f.n_heads, s.tp),
        message=lambda s, f: f"tp {s.tp}: {f.n_heads} heads do not divide",
    ),
    Rule(
        reason=Reason.TP_KV_HEADS,
        axis="tp",
        broken=lambda s, f: _remainder(f.n_kv_heads, s.tp),
        message=lambda s, f: f"tp {s.tp}: {f.n_kv_heads} key-value heads do not divide",
    ),
    Rule(
        reason=Reason.TP_NODE,
        axis="tp",
        broken=lambda s, f: np.greater(s.tp, f.devices_per_node) & (not f.tp_across_nodes),
        message=lambda s, f: f"tp {s.tp}: a node has {f.devices_per_node} devices, and tp across nodes was not allowed",
    ),
    Rule(
        reason=Reason.SP_TP,
        axis="sequence_parallel",
        broken=lambda s, f: s.sequence_parallel & np.equal(s.tp, 1),
        message=lambda s, f: "sequence parallelism divides what tensor parallelism leaves whole, and tp is 1",
    ),
    Rule(
        reason=Reason.SP_SEQ,
        axis="sequence_parallel",
        broken=lambda s, f: s.sequence_parallel & _remainder(f.seq, s.tp, s.cp),
        message=lambda s, f: f"sequence parallelism: {f.seq} positions do not divide over tp {s.tp} x cp {s.cp}",
    ),
    Rule(
        reason=Reason.CP_MODEL,
        axis="cp",
        broken=lambda s, f: np.greater(s.cp, 1) & (f.n_heads == 0),
        message=lambda s, f: f"cp {s.cp}: the model has no attention",
    ),
    Rule(
        reason=Reason.CP_SEQ,
        axis="cp",
        broken=lambda s, f: np.greater(s.cp, 1) & _remainder(f.seq, 2, s.cp),
        message=lambda s, f: f"cp {s.cp}: {f.seq} positions do not divide into {2 * np.asarray(s.cp)} pieces",
    ),
    Rule(
        reason=Reason.CP_HEADS,
        axis="cp",
        broken=lambda s, f: (s.cp_kind == "all_to_all") & np.greater(s.cp, 1) & _remainder(f.n_kv_heads, s.tp, s.cp),
        message=lambda s, f: (
            f"cp {s.cp} by all-to-all: {f.n_kv_heads} key-value heads do not divide over tp {s.tp} x cp"
        ),
    ),
    Rule(
        reason=Reason.EP_MODEL,
        axis="ep",
        broken=lambda s, f: np.greater(s.ep, 1) & (f.n_experts == 1),
        message=lambda s, f: f"ep {s.ep}: the model has no experts",
    ),
    Rule(
        reason=Reason.EP_EXPERTS,
        axis="ep",
        broken=lambda s, f: _remainder(f.n_experts, s.ep),
        message=lambda s, f: f"ep {s.ep}: {f.n_experts} experts do not divide",
    ),
    Rule(
        reason=Reason.EP_RANKS,
        axis="ep",
        broken=lambda s, f: np.not_equal(np.multiply(s.dp, s.cp) % np.maximum(1, s.ep), 0),
        message=lambda s, f: f"ep {s.ep} lies inside dp {s.dp} x cp {s.cp} = {s.dp * s.cp} ranks and must divide them",
    ),
    Rule(
        reason=Reason.BATCH,
        axis="micro_batch",
        broken=_batch_uneven,
        message=lambda s, f: (
            f"a global batch of {f.global_batch} does not divide over dp {s.dp} x micro-batch {s.micro_batch}; "
            f"{_nearest_multiple(f.global_batch, int(s.dp * s.micro_batch))} does"
        ),
    ),
    Rule(
        reason=Reason.STAGES,
        axis="pp",
        broken=lambda s, f: np.greater(s.pp, 1) & np.greater(np.multiply(s.pp, s.virtual_stages), f.n_layers),
        message=lambda s, f: f"pp {s.pp} x {s.virtual_stages} virtual stages: {f.n_layers} blocks to divide",
    ),
    Rule(
        reason=Reason.STAGE_LIST,
        axis="stages",
        broken=_stage_list_wrong,
        message=lambda s, f: (
            f"stages {s.stages}: pp {s.pp} x {s.virtual_stages} numbers of at least 1 must make {f.n_layers} blocks"
        ),
    ),
    Rule(
        reason=Reason.VIRTUAL,
        axis="virtual_stages",
        broken=_virtual_wrong,
        message=lambda s, f: f"schedule {s.schedule} at pp {s.pp} does not go with {s.virtual_stages} virtual stages",
    ),
    Rule(
        reason=Reason.MICRO_BATCHES,
        axis="micro_batch",
        broken=_too_few_micro_batches,
        message=lambda s, f: (
            f"{n_micro_batches(s, f)} micro-batches do not suit schedule {s.schedule} of {s.pp} stages"
        ),
    ),
    Rule(
        reason=Reason.SHARD,
        axis="shard",
        broken=_shard_wrong,
        message=lambda s, f: f"states cannot be sharded over {s.shard} of dp {s.dp} ranks at ZeRO stage {s.zero_stage}",
    ),
    Rule(
        reason=Reason.DTYPE,
        axis="precision",
        broken=lambda s, f: s.precision not in f.precisions,
        message=lambda s, f: f"{f.device} has no {s.precision}: it computes in {', '.join(f.precisions)}",
    ),
    Rule(
        reason=Reason.OFFLOAD,
        axis="offload",
        broken=_offload_pointless,
        message=lambda s, f: (
            f"offload of {s.offload}: {f.device} would have to have a host beside it"
            if f.is_cpu
            else f"offload of parameters needs them sharded, and ZeRO is at stage {s.zero_stage}"
        ),
    ),
    Rule(
        reason=Reason.RECOMPUTE_EVERY,
        axis="recompute_every",
        broken=_every_wrong,
        message=lambda s, f: (
            f"recompute {s.recompute} in every {s.recompute_every}-th block: k > 1 needs recomputation and at most "
            f"{f.n_layers} blocks"
        ),
    ),
    Rule(
        reason=Reason.ORDER,
        axis="order",
        broken=lambda s, f: set(s.order) != _AXES or len(s.order) != len(_AXES),
        message=lambda s, f: f"order {'-'.join(s.order)} must name tp, cp, ep, dp and pp once each",
    ),
)


def _with(strategy: Strategy, axis: str, value: Any) -> Strategy:
    """The strategy with another value, or array of values, of one axis."""
    changed: Strategy = replace(strategy, **{axis: value})
    return changed


def n_rows(strategy: Strategy) -> int:
    """Rows of the table; 1 for a single strategy."""
    return int(np.broadcast(*(getattr(strategy, axis) for axis in NUMERIC if getattr(strategy, axis) is not None)).size)


def broken_by(rule: Rule, strategy: Strategy, facts: Facts) -> Mask:
    """Which rows of the table break the rule."""
    return np.broadcast_to(np.asarray(rule.broken(strategy, facts), dtype=np.bool_), (n_rows(strategy),))


def legal_rows(strategy: Strategy, facts: Facts) -> Mask:
    """Which rows of the table no rule refuses."""
    legal = np.ones(n_rows(strategy), dtype=np.bool_)
    for rule in RULES:
        legal &= ~broken_by(rule, strategy, facts)
    return legal


def refusals(
    strategy: Strategy, model: ModelSpec, workload: Workload, cluster: Cluster, *, tp_across_nodes: bool = False
) -> tuple[Refusal, ...]:
    """Every reason why this one strategy cannot be, with what would help; empty when it is legal."""
    facts = gather_facts(model, workload, cluster, tp_across_nodes=tp_across_nodes)
    return refusals_of(strategy, facts)


def refusals_of(strategy: Strategy, facts: Facts) -> tuple[Refusal, ...]:
    """As ``refusals``, from facts already gathered."""
    found = [rule for rule in RULES if broken_by(rule, strategy, facts)[0]]
    return tuple(
        Refusal(reason=rule.reason, message=rule.message(strategy, facts), advice=_advice(rule, strategy, facts))
        for rule in found
    )


def _advice(rule: Rule, strategy: Strategy, facts: Facts) -> str | None:
    """The value of the rule's axis nearest to the present one that keeps the rule, as a strategy's text has it."""
    if rule.axis == "order":
        return "the usual order is tp-cp-ep-dp-pp"
    if rule.axis == "stages":
        return "leave the list out: blocks are then divided as evenly as they go"
    if rule.axis in CHOICES:
        for value in CHOICES[rule.axis]:
            if not broken_by(rule, _with(strategy, rule.axis, value), facts)[0]:
                return f"{rule.axis}={str(value).lower()} would do"
        return None
    now = getattr(strategy, rule.axis)
    values = np.arange(1, max(facts.n_devices, facts.global_batch, facts.n_layers) + 1)
    tried = _with(strategy, rule.axis, values)
    works = values[~np.any([broken_by(other, tried, facts) for other in RULES if other.axis == rule.axis], axis=0)]
    if works.size == 0:  # no value keeps all rules of the axis: another axis, or the batch, must give way
        even = _nearest_multiple(facts.global_batch, max(int(strategy.dp), 1))
        return f"--batch {even}" if rule.axis == "micro_batch" else None
    nearest = works[np.argmin(np.abs(np.log(works) - np.log(max(1, now or 1))))]
    return f"the nearest that would do is {rule.axis}={nearest}"
