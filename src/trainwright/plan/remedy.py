"""When nothing fits: the nearest things that would, ordered by cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from trainwright.errors import InvalidInputError
from trainwright.hardware.catalogue import devices
from trainwright.hardware.cluster import Cluster
from trainwright.hardware.parse import parse_cluster
from trainwright.plan.aim import Aim
from trainwright.plan.choice import Choice
from trainwright.plan.costed import Task
from trainwright.plan.search import search

MOST_TIMES = 64
"""How many times the nodes at hand are tried before giving up."""

QUICK = 60_000
"""Candidates looked at for each way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What would have to change, and the best plan then."""

    what: str
    choice: Choice


def remedies(task: Task, cluster: Cluster, aim: Aim, n_shown: int = 4) -> tuple[Remedy, ...]:
    """More of the same nodes, larger devices in their place, LoRA or 8-bit states: those that fit, cheapest first."""
    quick = replace(aim, max_candidates=QUICK, n_shown=1, deadline_s=None, budget_dollars=None, goal="fastest")
    found: list[Remedy] = []
    for what, changed, other in _ways(task, cluster):
        choice = _best(changed, other, quick)
        if choice is not None:
            found.append(Remedy(what=what, choice=choice))
    found += list(_more_nodes(task, cluster, quick))
    return tuple(sorted(found, key=_cost)[:n_shown])


def _cost(remedy: Remedy) -> float:
    """Dollars a step; device-seconds at a dollar an hour where nobody named a price."""
    choice = remedy.choice
    if choice.dollars_per_step is not None:
        return choice.dollars_per_step
    return choice.step_s * float(choice.strategy.n_devices) / 3600.0


def _ways(task: Task, cluster: Cluster) -> Iterator[tuple[str, Task, Cluster]]:
    """Changes on as many devices: the smallest larger ones of the same maker, LoRA, states of 8 bits."""
    group = cluster.groups[0]
    larger = [d for d in devices() if d.vendor == group.device.vendor and d.kind == group.device.kind]
    larger = [d for d in larger if d.memory_bytes > 1.2 * group.device.memory_bytes and (d.year or 0) >= 2020]
    for device in sorted(larger, key=lambda d: d.memory_bytes)[:6]:
        text = f"{group.n_nodes} x {group.devices_per_node}x{device.name}"
        yield text, task, parse_cluster(text)
    if task.workload.objective == "pretrain":
        lora = replace(task.workload, objective="lora", lora_rank=16)
        yield "LoRA of rank 16 on the same devices", replace(task, workload=lora), cluster
        eight = replace(task.workload, optimizer="adamw8bit")
        yield "optimizer states of 8 bits", replace(task, workload=eight), cluster


def _more_nodes(task: Task, cluster: Cluster, aim: Aim) -> Iterator[Remedy]:
    """The fewest more of the same nodes that fit, by doubling."""
    times = 2
    while times <= MOST_TIMES:
        groups = tuple(replace(group, n_nodes=group.n_nodes * times) for group in cluster.groups)
        n_devices = sum(group.n_devices for group in groups)
        choice = _best(task, replace(cluster, groups=groups), aim)
        if choice is not None:
            yield Remedy(what=f"{n_devices} x {groups[0].device.name}", choice=choice)
            return
        times *= 2


def _best(task: Task, cluster: Cluster, aim: Aim) -> Choice | None:
    try:
        return search(task.model, task.workload, [cluster], task.stack, aim).best
    except InvalidInputError:
        return None  # nothing legal there
