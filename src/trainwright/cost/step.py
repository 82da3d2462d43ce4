"""One training step: every part of its time and memory, for one strategy or a table of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trainwright.cost.compose import compose, total_s
from trainwright.cost.estimate import Estimate
from trainwright.cost.ingredients import ingredients
from trainwright.cost.memory import step_memory
from trainwright.cost.memory_rules import memory_rules
from trainwright.cost.setting import Setting, setting
from trainwright.cost.sources import SOURCES
from trainwright.cost.stack import Stack
from trainwright.cost.stages import PriceBook
from trainwright.cost.table import Array
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
    composed = compose(ingredients(asked))
    flop, hardware = step_flop(asked)
    rules = replace(memory_rules(stack.name), attention=stack.attention)
    memory, stage_memory = step_memory(model, workload, strategy, rules)

    def out(value: Number) -> Number:
        wide = np.broadcast_to(np.asarray(value, dtype=float), (rows.n,))
        return float(wide[0]) if rows.is_scalar else wide

    return Estimate(
        time={name: out(composed.time.get(name, 0.0)) for name in TIME_PARTS},
        hidden={name: out(value) for name, value in composed.hidden.items()},
        memory={name: out(value) for name, value in memory.items()},
        stage_memory=stage_memory,
        model_flop=out(flop),
        hardware_flop=out(hardware),
        tokens_per_step=float(workload.global_batch * (workload.seq if model.unit == "tokens" else 1)),
        n_devices=out(rows.n_devices),
        sources=SOURCES,
    )


def step_seconds(
    model: ModelSpec, workload: Workload, strategy: Strategy, cluster: Cluster, stack: Stack, book: PriceBook
) -> Number:
    """The seconds of ``estimate_step`` alone, for a search that has looked at memory already."""
    asked = (setting(model, workload, strategy, group, stack, book) for group in cluster.groups)
    seconds = [total_s(ingredients(one)) for one in asked]
    slowest: Number = seconds[0] if len(seconds) == 1 else np.max(np.stack(seconds), axis=0)
    return slowest


def step_flop(asked: Setting) -> tuple[Array, Array]:
    """(model, hardware) FLOP per device and step; hardware counts what is recomputed."""
    held, rows = asked.stages, asked.table
    again = {"none": 0.0, "selective": held.body.core_flop, "full": held.body.flop}[rows.strategy.recompute]
    scale = rows.n_micro / rows.pp
    model = np.sum((held.total("flop") + held.total("backward_flop")) * held.weight, axis=0) * scale
    extra = np.sum(again * held.n_body / rows.recompute_every * held.weight, axis=0) * scale
    return model, model + extra
