"""One training step: every part of its time and memory, for one strategy or a table of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainwright.cost.block import Arithmetic
from trainwright.cost.estimate import Estimate
from trainwright.cost.exchange import DataParallel, Spans, cp_s, data_parallel, ep_s, pp_s, spans, tp_s
from trainwright.cost.overlap import exposed_s, host_bound_s
from trainwright.cost.pipeline import bubble_s, sends_s
from trainwright.cost.sources import SOURCES
from trainwright.cost.stack import Stack
from trainwright.cost.stages import Stages, parts, stages
from trainwright.cost.table import Array, Table, table
from trainwright.cost.update import update_s
from trainwright.hardware.cluster import Cluster, NodeGroup
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import ModelSpec
from trainwright.units import Number

TIME_PARTS = (
    "forward", "backward", "recompute", "head_loss", "optimizer", "tp_communication", "cp_communication",
    "ep_communication", "dp_communication", "pp_communication", "bubble", "dispatch", "data", "offload",
)  # fmt: skip
"""The parts of a step's time, in the order reports show them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Everything a step depends on, with the strategy as a table."""

    model: ModelSpec
    table: Table
    group: NodeGroup
    stack: Stack
    how: Arithmetic
    stages: Stages
    spans: Spans


def estimate_step(model: ModelSpec, workload: Workload, strategy: Strategy, cluster: Cluster, stack: Stack) -> Estimate:
    """What one optimizer step costs: exposed seconds by part, bytes by part, FLOP.

    Numbers of ``strategy`` may be arrays of one length; then every figure of the answer is such an array. On a
    heterogeneous cluster with an even split, the slowest group paces the step.
    """
    answers = [_one_group(model, workload, strategy, group, stack) for group in cluster.groups]
    return answers[0] if len(answers) == 1 else slowest(answers)


def slowest(answers: list[Estimate]) -> Estimate:
    """The estimate whose step takes longest (of the first candidate, in a table)."""
    return max(answers, key=lambda estimate: float(np.max(estimate.step_s)))


def _one_group(model: ModelSpec, workload: Workload, strategy: Strategy, group: NodeGroup, stack: Stack) -> Estimate:
    rows = table(strategy, workload)
    how = arithmetic(strategy, workload, group, stack)
    setting = Setting(
        model=model,
        table=rows,
        group=group,
        stack=stack,
        how=how,
        stages=stages(model, rows, how),
        spans=spans(rows, group),
    )
    time, hidden = _time(setting)
    flop, hardware = _flop(setting)

    def out(value: Number) -> Number:
        wide = np.broadcast_to(np.asarray(value, dtype=float), (rows.n,))
        return float(wide[0]) if rows.is_scalar else wide

    return Estimate(
        time={name: out(time.get(name, 0.0)) for name in TIME_PARTS},
        hidden={name: out(value) for name, value in hidden.items()},
        memory={},
        model_flop=out(flop),
        hardware_flop=out(hardware),
        tokens_per_step=float(workload.global_batch * (workload.seq if model.unit == "tokens" else 1)),
        n_devices=out(rows.n_devices),
        sources=SOURCES,
    )


def arithmetic(strategy: Strategy, workload: Workload, group: NodeGroup, stack: Stack) -> Arithmetic:
    """Which dtypes multiply: narrow formats only in the blocks' matmuls, 16 bits elsewhere."""
    narrow = strategy.precision in ("fp8", "fp4")
    return Arithmetic(
        low=strategy.precision,
        base="bf16" if narrow else strategy.precision,
        device=group.device,
        stack=stack,
        lora=workload.objective == "lora",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Seconds of one micro-batch on each stage, by part: (stages, candidates)."""

    forward: Number
    backward: Number
    recompute: Number
    head: Number
    tp: Number
    cp: Number
    ep: Number
    dp: Number
    dispatch: Number
    dp_hidden: Number
    tp_hidden: Number

    @property
    def total(self) -> Number:
        """All parts."""
        shown = (self.forward, self.backward, self.recompute, self.head, self.tp, self.cp, self.ep, self.dp)
        return sum(shown, start=self.dispatch)


def _micro_batch(setting: Setting, gathers: DataParallel) -> MicroBatch:
    """What one micro-batch takes on each stage, with what overlaps inside it."""
    held, stack, rows = setting.stages, setting.stack, setting.table
    again = recomputed(setting)
    scale = stack.compute_scale
    body_f = (held.total("forward_s") - held.after.forward_s * held.has_after) * scale
    body_b = (held.total("backward_s") - held.after.backward_s * held.has_after) * scale
    head = (held.after.forward_s + held.after.backward_s) * held.has_after * scale
    redo = again * scale
    passes = 2.0 + recompute_share(setting)
    tp, tp_hidden = exposed_s(
        tp_s(held, rows, setting.spans) * passes, body_f + body_b, stack.overlap_tp, stack.interference
    )
    cp_all = cp_s(held, rows, setting.spans) * (passes + 1.0)
    cp, _ = exposed_s(cp_all, held.body.attention_s * held.n_body * scale, stack.overlap_cp, stack.interference)
    ep, _ = exposed_s(ep_s(held, rows, setting.spans) * passes, body_f + body_b, stack.overlap_ep, stack.interference)
    dp, dp_hidden = _gathers(setting, gathers, body_f + 0.3 * head, body_b + redo + 0.7 * head)
    device_s = body_f + body_b + head + redo + tp + cp + ep + dp
    return MicroBatch(
        forward=body_f, backward=body_b, recompute=redo, head=head, tp=tp, cp=cp, ep=ep, dp=dp,
        dispatch=dispatch_s(setting, device_s), dp_hidden=dp_hidden, tp_hidden=tp_hidden,
    )  # fmt: skip


def recompute_share(setting: Setting) -> Number:
    """Share of the blocks whose forward is repeated in full."""
    strategy = setting.table.strategy
    return 1.0 / setting.table.recompute_every if strategy.recompute == "full" else 0.0


def recomputed(setting: Setting) -> Number:
    """Seconds of forward repeated in backward, per stage."""
    held, strategy = setting.stages, setting.table.strategy
    if strategy.recompute == "full":
        return held.body.forward_s * held.n_body / setting.table.recompute_every
    if strategy.recompute == "selective":
        share = setting.stack.selective_share
        once = held.body.core_s if share is None else held.body.forward_s * share
        return once * held.n_body / setting.table.recompute_every
    return np.zeros_like(held.n_body)


def _gathers(setting: Setting, gathers: DataParallel, forward_s: Number, backward_s: Number) -> tuple[Number, Number]:
    """ZeRO-3 in one micro-batch: gathers behind forward, gathers and scatters behind backward; the first is exposed."""
    if setting.table.strategy.zero_stage < 3:
        none = np.zeros_like(forward_s)
        return none, none
    stack = setting.stack
    layers = np.maximum(setting.stages.n_body, 1.0)
    scatter = gathers.reduce_s if stack.scatter_every_micro_batch else np.zeros_like(gathers.reduce_s)
    shown_f, hidden_f = exposed_s(gathers.forward_s, forward_s, stack.overlap_fsdp, stack.interference)
    shown_b, hidden_b = exposed_s(gathers.backward_s + scatter, backward_s, stack.overlap_fsdp, stack.interference)
    edge = (gathers.forward_s + scatter) / layers
    return shown_f + shown_b + edge, hidden_f + hidden_b


def dispatch_s(setting: Setting, device_s: Number) -> Number:
    """Seconds a stage waits for the host in one micro-batch.

    A GPU's host runs ahead: the wait is what the host takes beyond the device. A CPU is its own host: dispatch adds.
    """
    held, stack = setting.stages, setting.stack
    kernels = held.total("forward_kernels") * (1.0 + recompute_share(setting)) + held.total("backward_kernels")
    host_s = kernels * stack.kernel_share * stack.dispatch_s
    fixed = stack.layer_s * held.n_body + stack.micro_batch_s
    if setting.how.device.kind == "cpu" or not stack.host_ahead:
        return host_s + fixed
    return host_bound_s(host_s, device_s) + fixed


def _time(setting: Setting) -> tuple[dict[str, Array], dict[str, Array]]:
    """Exposed and hidden seconds by part."""
    rows, stack, held = setting.table, setting.stack, setting.stages
    gathers = data_parallel(held, rows, setting.spans, stack)
    one = _micro_batch(setting, gathers)
    stage_s = np.asarray(one.total)
    paces = np.argmax(np.where(held.weight > 0, stage_s, 0.0), axis=0)

    def at_pace(value: Number) -> Array:
        wide = np.broadcast_to(value, stage_s.shape)
        picked: Array = np.take_along_axis(wide, paces[None, :], axis=0)[0]
        return picked

    time = {
        name: at_pace(getattr(one, field)) * rows.n_micro
        for name, field in (
            ("forward", "forward"), ("backward", "backward"), ("recompute", "recompute"), ("head_loss", "head"),
            ("tp_communication", "tp"), ("cp_communication", "cp"), ("ep_communication", "ep"),
            ("dispatch", "dispatch"),
        )
    }  # fmt: skip
    reduce, reduce_hidden = _reductions(setting, gathers, one)
    boundary = boundary_bytes(setting)
    time["dp_communication"] = at_pace(one.dp) * rows.n_micro + np.max(reduce, axis=0)
    time["pp_communication"] = sends_s(pp_s(boundary, rows, setting.spans), rows, stack.overlap_pp)
    time["bubble"] = bubble_s(stage_s, held.weight, rows)
    time["optimizer"] = np.max(update_s(held.total("trainable"), rows, setting.how.device, stack), axis=0)
    time["dispatch"] = time["dispatch"] + stack.step_s
    hidden = {
        "dp_communication": at_pace(one.dp_hidden) * rows.n_micro + np.max(reduce_hidden, axis=0),
        "tp_communication": at_pace(one.tp_hidden) * rows.n_micro,
    }
    return time, hidden


def _reductions(setting: Setting, gathers: DataParallel, one: MicroBatch) -> tuple[Number, Number]:
    """Once a step: gradients behind the last micro-batch's backward, updated parameters behind the next forward."""
    stack = setting.stack
    none = np.zeros_like(one.forward)
    if setting.table.strategy.zero_stage == 3:
        return (none, none) if stack.scatter_every_micro_batch else (gathers.reduce_s, none)
    window = one.backward + one.recompute + 0.7 * one.head
    shown, hidden = exposed_s(gathers.reduce_s, window, stack.overlap_dp, stack.interference)
    shown_g, hidden_g = exposed_s(gathers.gather_s, one.forward, stack.overlap_dp, stack.interference)
    return shown + shown_g, hidden + hidden_g


def boundary_bytes(setting: Setting) -> Array:
    """Bytes of one micro-batch's activations between two stages, before tp divides them."""
    body = parts(setting.model)[1]
    rows = setting.table
    elements: Array = np.asarray(body[-1].boundary.at(rows.micro_batch, setting.table.workload.seq / rows.cp))
    return elements * setting.how.base_bytes


def _flop(setting: Setting) -> tuple[Array, Array]:
    """(model, hardware) FLOP per device and step; hardware counts what is recomputed."""
    held, rows = setting.stages, setting.table
    per_micro = held.total("flop") + held.total("backward_flop")
    strategy = rows.strategy
    again = {"none": 0.0, "selective": held.body.core_flop, "full": held.body.flop}[strategy.recompute]
    extra = again * held.n_body / rows.recompute_every
    scale = rows.n_micro / rows.pp
    model = np.sum(per_micro * held.weight, axis=0) * scale
    return model, model + np.sum(extra * held.weight, axis=0) * scale
