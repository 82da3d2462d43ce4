"""A cluster of unlike groups: each trains with its own split on its own share of the batch, in proportion to speed.

Tensor, context and pipeline parallelism stay inside a group; only gradients cross, once a step. Shares start in
proportion to each group's speed alone, in grains that divide over its devices, and move from the group that paces the
step until nothing is won. Pipelines with stages in several groups are not tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd

from trainwright.cost.network import Span, collective_s
from trainwright.errors import InvalidInputError
from trainwright.hardware.cluster import Cluster, NodeGroup
from trainwright.jobs.strategy import Strategy
from trainwright.plan.aim import Aim
from trainwright.plan.choice import Choice, describe
from trainwright.plan.costed import Task
from trainwright.plan.pins import Pin
from trainwright.plan.search import search
from trainwright.units import format_bytes, format_seconds

QUICK = 60_000
"""Candidates looked at for one group and one share."""

MOVES = 8
"""How often a share may move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one group does: so many samples of each step, split like this."""

    samples: int
    choice: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """All groups together. ``alone_s``: seconds of a step if only that group trained, by its name; inf: it cannot."""

    parts: tuple[Part, ...]
    exchange_s: float
    alone_s: Mapping[str, float]

    @property
    def step_s(self) -> float:
        """The slowest group, and the gradients between groups."""
        return max(part.choice.step_s for part in self.parts) + self.exchange_s

    @property
    def sentences(self) -> tuple[str, ...]:
        """What each group does, what they take together, and what leaving groups out would cost."""
        told = [
            f"{part.choice.cluster.name} does {part.samples} samples a step: {describe(part.choice.strategy)}, "
            f"{format_seconds(part.choice.step_s)}, {format_bytes(part.choice.occupied_bytes)} a device"
            for part in self.parts
        ]
        told.append(
            f"together {format_seconds(self.step_s)} a step, {format_seconds(self.exchange_s)} of it gradients between "
            "groups"
        )
        for name, seconds in self.alone_s.items():
            change = 100 * (seconds / self.step_s - 1.0)
            verdict = f"{change:+.0f} %, {format_seconds(seconds)} a step" if seconds < float("inf") else "does not fit"
            told.append(f"with {name} alone: {verdict}")
        return tuple(told)


def split_over_groups(task: Task, cluster: Cluster, aim: Aim, pins: tuple[Pin, ...] = ()) -> Mixed | None:
    """The best shares found; None where fewer than two groups can do any share."""
    quick = replace(aim, goal="fastest", max_candidates=QUICK, n_shown=1, deadline_s=None, budget_dollars=None)
    finder = _Finder(task=task, aim=quick, pins=pins)
    alone = [cluster_of(group) for group in cluster.groups]
    whole = task.workload.global_batch
    found = [finder.best(one, whole) for one in alone]
    speeds = [0.0 if choice is None else whole / choice.step_s for choice in found]
    names = [one.name for one in alone]
    alone_s = {name: whole / speed if speed else float("inf") for name, speed in zip(names, speeds, strict=True)}
    able = [one for one, speed in zip(alone, speeds, strict=True) if speed]
    if len(able) < 2:
        return None
    grain = gcd(whole, *(one.n_devices for one in able))
    shares = _proportional(whole, [speed for speed in speeds if speed], grain)
    parts = _balanced(finder, able, shares, grain)
    if parts is None:
        return None
    return Mixed(parts=parts, exchange_s=exchange_s(task, cluster, parts), alone_s=alone_s)


def together(mixed: Mixed) -> Strategy | None:
    """One strategy for all groups, whose replicas have unlike parts of the batch; None where groups split otherwise.

    States are sharded inside a group only. Replicas run micro-batches of the largest size that all can take, or their
    whole share.
    """
    strategies = [part.choice.strategy for part in mixed.parts]
    first, replicas = strategies[0], [int(strategy.dp) for strategy in strategies]
    alike = {replace(strategy, dp=1, micro_batch=1, shard=None) for strategy in strategies}
    uneven = any(part.samples % dp for part, dp in zip(mixed.parts, replicas, strict=True))
    if len(alike) > 1 or uneven or first.ep > 1 or (first.zero_stage > 0 and len(set(replicas)) > 1):
        return None
    each = [part.samples // dp for part, dp in zip(mixed.parts, replicas, strict=True)]
    own = [int(strategy.micro_batch) for strategy in strategies]
    micro = max(size for size in range(1, max(own) + 1) if _all_can(size, each, own))
    if first.zero_stage >= 2:  # every replica takes as many micro-batches, the largest portion those of the full size
        n_most = max(share // int(strategy.micro_batch) for share, strategy in zip(each, strategies, strict=True))
        pieces = next((n for n in range(n_most, min(each) + 1) if not any(share % n for share in each)), None)
        if pieces is None:
            return None
        micro = max(each) // pieces
    return replace(
        first,
        dp=sum(replicas),
        micro_batch=micro,
        samples=tuple(share for share, dp in zip(each, replicas, strict=True) for _ in range(dp)),
        shard=replicas[0] if first.zero_stage > 0 else None,
        order=("tp", "cp", "ep", "pp", "dp"),
    )


def _all_can(size: int, shares: list[int], most: list[int]) -> bool:
    """Whether every share divides into micro-batches of the size, or is one itself, none larger than it has room for.

    >>> [_all_can(size, [15, 1], [15, 1]) for size in (15, 4)]
    [True, False]
    """
    each = [min(size, share) for share in shares]
    return all(n <= room and share % n == 0 for n, room, share in zip(each, most, shares, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finder:
    task: Task
    aim: Aim
    pins: tuple[Pin, ...]

    def best(self, cluster: Cluster, samples: int) -> Choice | None:
        """The fastest choice of one group for so many samples; None where there is none."""
        workload = replace(self.task.workload, global_batch=samples)
        try:
            return search(self.task.model, workload, [cluster], self.task.stack, self.aim, self.pins).best
        except InvalidInputError:
            return None  # no split of that many samples


def cluster_of(group: NodeGroup) -> Cluster:
    """One group as a cluster of its own."""
    return Cluster(name=f"{group.n_devices} x {group.device.name}", groups=(group,))


def _proportional(whole: int, speeds: list[float], grain: int) -> list[int]:
    """Shares of the batch in proportion to speed, in whole grains and adding up, at least one each.

    >>> _proportional(64, [3.0, 1.2], 8)
    [48, 16]
    """
    shares = [max(grain, grain * round(whole / grain * speed / sum(speeds))) for speed in speeds]
    shares[max(range(len(shares)), key=lambda i: shares[i])] += whole - sum(shares)
    return shares


def _balanced(finder: _Finder, clusters: list[Cluster], shares: list[int], grain: int) -> tuple[Part, ...] | None:
    """Grains moved from the slowest group to the fastest while the step gets shorter."""
    parts = _parts(finder, clusters, shares)
    for _ in range(MOVES):
        if parts is None:
            return None
        times = [part.choice.step_s for part in parts]
        slow, fast = times.index(max(times)), times.index(min(times))
        moved = list(shares)
        moved[slow], moved[fast] = moved[slow] - grain, moved[fast] + grain
        tried = _parts(finder, clusters, moved) if moved[slow] > 0 else None
        if tried is None or max(part.choice.step_s for part in tried) >= max(times):
            return parts
        parts, shares = tried, moved
    return parts


def _parts(finder: _Finder, clusters: list[Cluster], shares: list[int]) -> tuple[Part, ...] | None:
    parts = []
    for cluster, samples in zip(clusters, shares, strict=True):
        choice = finder.best(cluster, samples)
        if choice is None:
            return None
        parts.append(Part(samples=samples, choice=choice))
    return tuple(parts)


def exchange_s(task: Task, cluster: Cluster, parts: tuple[Part, ...]) -> float:
    """Seconds to add up gradients between groups: each device of the smallest group carries its share of them.

    After the reduction inside a group every device holds 1 / n of the gradients; shares of one place in each group
    meet on a ring over the link between groups.
    """
    link = cluster.between or cluster.groups[0].inter
    n_devices = min(float(part.choice.strategy.n_devices) for part in parts)
    message = task.model.n_parameters * task.stack.reduce_bytes / n_devices
    where = Span(n_ranks=float(len(parts)), ranks_per_node=1.0, intra=link, inter=link)
    return float(collective_s("all_reduce", message, where))
