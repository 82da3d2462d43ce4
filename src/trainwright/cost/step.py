"""One training step: every part of its time and memory, for one strategy or a table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from trainwright.cost.compose import Composed, compose
from trainwright.cost.corrections import is_known, scales_for
from trainwright.cost.energy import step_joules
from trainwright.cost.estimate import Estimate, Interval
from trainwright.cost.ingredients import ingredients
from trainwright.cost.interval import PROBED, interval, regime, widened
from trainwright.cost.kind import kind_of
from trainwright.cost.memory import step_memory
from trainwright.cost.memory_rules import memory_rules
from trainwright.cost.setting import Setting, setting
from trainwright.cost.sources import SOURCES
from trainwright.cost.stack import Stack
from trainwright.cost.table import Array, spread
from trainwright.hardware.cluster import Cluster, NodeGroup
from trainwright.hardware.device import Device
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import ModelSpec
from trainwright.units import Number

TIME_PARTS = (
    "forward", "backward", "recompute", "head_loss", "optimizer", "tp_communication", "cp_communication",
    "ep_communication", "dp_communication", "pp_communication", "bubble", "dispatch", "data", "offload",
)  # fmt: skip
"""The parts of a step's time, in the order reports show them."""


def estimate_step(model: ModelSpec, workload: Workload, strategy: Strategy, cluster: Cluster, stack: Stack) -> Estimate:
    """What one optimizer step costs: exposed seconds by part, bytes by part, FLOP.

    Numbers of ``strategy`` may be arrays of one length; then every figure of the answer is such an array. On a
    heterogeneous cluster with an even split, the slowest group paces the step.
    """
    answers = [_one_group(model, workload, strategy, group, stack) for group in cluster.groups]
    return max(answers, key=lambda estimate: float(np.max(estimate.step_s)))


def _one_group(model: ModelSpec, workload: Workload, strategy: Strategy, group: NodeGroup, stack: Stack) -> Estimate:
    asked = setting(model, workload, strategy, group, stack)
    rows = asked.table
    composed = composed_step(asked)
    step_s = composed.step_s
    flop, hardware = step_flop(asked)
    name = regime_of(model, workload, group.n_devices, stack, group.device)
    rules = replace(memory_rules(stack.name), attention=stack.attention)
    memory, stage_memory = step_memory(model, workload, strategy, rules)

    def out(value: Number) -> Number:
        return float(np.asarray(value).item()) if rows.is_scalar else spread(value, (rows.n,))

    answer = Estimate(
        time={name: out(composed.time.get(name, 0.0)) for name in TIME_PARTS},
        hidden={name: out(value) for name, value in composed.hidden.items()},
        memory={name: out(value) for name, value in memory.items()},
        stage_memory=stage_memory,
        model_flop=out(flop),
        hardware_flop=out(hardware),
        tokens_per_step=float(workload.global_batch * (workload.seq if model.unit == "tokens" else 1)),
        n_devices=out(rows.n_devices),
        step_interval=_out_interval(widened(interval(step_s, "time", name), group.device.spread), out),
        memory_interval=_out_interval(interval(sum(memory.values(), start=0.0), "memory", name), out),
        sources=SOURCES,
    )
    return replace(answer, energy_j=step_joules(answer, group.device))


def _out_interval(span: Interval, out: Callable[[Number], Number]) -> Interval:
    return Interval(low=out(span.low), high=out(span.high), confidence=span.confidence)


def regime_of(model: ModelSpec, workload: Workload, cluster_devices: int, stack: Stack, device: Device) -> str:
    """In which regime a step's prediction errs: what is trained, on how much, and whether anybody measured the like."""
    if device.kind == "cpu":
        return PROBED
    kind = kind_of(model, workload)
    return regime(kind, cluster_devices, known=is_known(stack, device, kind))


def composed_step(asked: Setting) -> Composed:
    """The parts of a step, with the constants that measurements gave its stack and device."""
    of = asked.table
    scales = scales_for(asked.model, of.workload, asked.group.device, asked.stack, of.strategy.precision)
    return compose(ingredients(asked), scales)


def step_flop(asked: Setting) -> tuple[Array, Array]:
    """(model, hardware) FLOP per device and step; hardware counts what is recomputed."""
    held, rows = asked.stages, asked.table
    again = {"none": 0.0, "selective": held.body.core_flop, "full": held.body.flop}[rows.strategy.recompute]
    scale = rows.n_micro / rows.pp
    model = np.sum((held.total("flop") + held.total("backward_flop")) * held.weight, axis=0) * scale
    extra = np.sum(again * held.n_body / rows.recompute_every * held.weight, axis=0) * scale
    return model, model + extra
