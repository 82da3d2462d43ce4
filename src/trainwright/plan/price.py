"""One strategy priced in full: made by hand or found, by the same functions as the search."""

from __future__ import annotations

from dataclasses import replace

from trainwright.cost.step import estimate_step
from trainwright.hardware.cluster import Cluster
from trainwright.jobs.strategy import Strategy
from trainwright.plan.choice import Choice, capacity_bytes, dollars_per_second
from trainwright.plan.costed import Task, occupied


def price(task: Task, cluster: Cluster, strategy: Strategy) -> Choice:
    """One strategy, made by hand or found, with its full estimate."""
    estimate = estimate_step(task.model, task.workload, strategy, cluster, task.stack)
    rate = dollars_per_second(cluster, float(strategy.n_devices))
    return Choice(
        cluster=cluster,
        strategy=replace(strategy, shard=strategy.shard if strategy.zero_stage else None),
        estimate=estimate,
        occupied_bytes=occupied(task, strategy),
        capacity_bytes=capacity_bytes(cluster),
        dollars_per_step=None if rate is None else rate * float(estimate.step_s),
    )
