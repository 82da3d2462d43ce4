"""A pipeline over unlike groups: which group holds which blocks, in proportion to its speed and memory.

Tensor parallelism stays inside a group and may differ between groups; the number of replicas is the same in all. Tried:
every order of the groups, every common number of replicas and tensor parallelism in powers of two; of the most
promising of those, micro-batches, sequence parallelism and recomputation, with 1F1B and ZeRO-1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations, product
from math import gcd
from typing import Any

import numpy as np

from trainwright.cost.relay import RelayCost, Section, relay_cost
from trainwright.hardware.cluster import Cluster, NodeGroup
from trainwright.hardware.link import Link
from trainwright.jobs.strategy import Strategy, even_stages
from trainwright.plan.aim import Aim
from trainwright.plan.choice import describe
from trainwright.plan.costed import Task
from trainwright.plan.facts import Facts, gather_facts
from trainwright.plan.legal import legal_rows
from trainwright.plan.pins import Pin, allowed
from trainwright.units import format_bytes, format_seconds

MOST_GROUPS = 3
"""With more groups their orders alone are too many to try."""

MOST_STAGES = 64

SHAPES = 6
"""Divisions whose every variant is tried, the most promising of all."""

ROUNDS = 4
"""How often blocks are dealt out anew after stages were found too full or unlike in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """The best pipeline found; ``sections`` in the order in which a micro-batch runs through them."""

    sections: tuple[Section, ...]
    cost: RelayCost

    @property
    def step_s(self) -> float:
        """Seconds of one optimizer step."""
        return self.cost.step_s

    @property
    def sentences(self) -> tuple[str, ...]:
        """What each group holds and does."""
        told = [
            f"one pipeline through all groups: {format_seconds(self.step_s)} a step, {self.sections[0].strategy.pp} "
            f"stages, {describe(replace(self.sections[0].strategy, tp=1, pp=1))}"
        ]
        for section in self.sections:
            held = (self.sections[0].strategy.stages or ())[section.first : section.last]
            here = slice(section.first, section.last)
            told.append(
                f"{section.group.n_devices} x {section.group.device.name} hold {sum(held)} blocks in stages of "
                f"{', '.join(map(str, held))} (tp {section.strategy.tp}), at most "
                f"{format_bytes(float(self.cost.stage_bytes[here].max()))} a device, "
                f"{format_seconds(float(self.cost.stage_s[here].max()))} a micro-batch"
            )
        return tuple(told)


def pipeline_over_groups(task: Task, cluster: Cluster, aim: Aim, pins: tuple[Pin, ...] = ()) -> Relay | None:
    """The fastest pipeline that fits and keeps the pins; None where there is none."""
    if not 2 <= len(cluster.groups) <= MOST_GROUPS:
        return None
    best: Relay | None = None
    for draft in _promising(task, cluster, list(_drafts(task, cluster, aim, pins))):
        found = _balanced(task, cluster, draft, 1.0 - aim.headroom_share)
        if found is not None and (best is None or found.step_s < best.step_s):
            best = found
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """Groups in their order, tensor parallelism and stages of each; blocks not yet dealt out."""

    groups: tuple[NodeGroup, ...]
    tps: tuple[int, ...]
    n_stages: tuple[int, ...]
    strategy: Strategy

    def sections(self, blocks: tuple[int, ...]) -> tuple[Section, ...]:
        """The sections when the stages hold so many blocks."""
        ends = np.cumsum(self.n_stages)
        return tuple(
            Section(
                group=group,
                strategy=replace(self.strategy, tp=tp, sequence_parallel=self._sequence(tp), stages=blocks),
                first=int(end) - n,
                last=int(end),
            )
            for group, tp, n, end in zip(self.groups, self.tps, self.n_stages, ends, strict=True)
        )

    @property
    def shape(self) -> Any:
        """What is the same for all its variants."""
        return tuple(group.device.name for group in self.groups), self.strategy.dp, self.tps

    def _sequence(self, tp: int) -> bool:
        return self.strategy.sequence_parallel and tp > 1


def _drafts(task: Task, cluster: Cluster, aim: Aim, pins: tuple[Pin, ...]) -> Iterator[_Draft]:
    """Every legal draft."""
    facts = replace(
        gather_facts(task.model, task.workload, cluster, tp_across_nodes=aim.tp_across_nodes), n_devices=2**31
    )
    replicas = _powers(gcd(facts.global_batch, *(group.n_devices for group in cluster.groups)))
    for groups, dp in product(permutations(cluster.groups), replicas):
        per_group = [[tp for tp in _powers(g.devices_per_node) if g.n_devices % (dp * tp) == 0] for g in groups]
        for tps in product(*per_group):
            n_stages = tuple(g.n_devices // (dp * tp) for g, tp in zip(groups, tps, strict=True))
            pp = sum(n_stages)
            if pp > min(MOST_STAGES, facts.n_layers):
                continue
            strategies = (Strategy(dp=dp, tp=max(tps), pp=pp, **each) for each in _choices(facts, dp))
            drafts = (_Draft(groups=groups, tps=tps, n_stages=n_stages, strategy=one) for one in strategies)
            yield from (draft for draft in drafts if _is_legal(draft, facts, pins))


def _promising(task: Task, cluster: Cluster, drafts: list[_Draft]) -> list[_Draft]:
    """The drafts of the few shapes whose stages would be done first if blocks could be dealt out in any fraction."""
    first: dict[Any, _Draft] = {}
    for draft in drafts:
        first.setdefault(draft.shape, draft)
    link, n_blocks = _joint(cluster), _n_blocks(task, cluster)
    ideal: dict[Any, float] = {}
    for shape, draft in first.items():
        held = even_stages(n_blocks, sum(draft.n_stages))
        cost = relay_cost(task.model, task.workload, draft.sections(held), task.stack, link)
        passes = task.workload.global_batch / int(draft.strategy.dp) / int(draft.strategy.micro_batch) + len(held) - 1
        ideal[shape] = float(n_blocks / np.sum(np.array(held) / cost.stage_s)) * passes
    kept = sorted(ideal, key=lambda shape: ideal[shape])[:SHAPES]
    return [draft for draft in drafts if draft.shape in kept]


def _joint(cluster: Cluster) -> Link:
    return cluster.between or cluster.groups[0].inter


def _n_blocks(task: Task, cluster: Cluster) -> int:
    return gather_facts(task.model, task.workload, cluster).n_layers


def _is_legal(draft: _Draft, facts: Facts, pins: tuple[Pin, ...]) -> bool:
    kept = all(allowed(pins, axis, value) for axis, value in _axes(draft.strategy, draft.tps))
    each = (replace(s.strategy, stages=None) for s in draft.sections(()))
    return kept and all(bool(legal_rows(one, facts)[0]) for one in each)


def _choices(facts: Facts, dp: int) -> Iterator[dict[str, Any]]:
    low = next((name for name in ("bf16", "fp16") if name in facts.precisions), "fp32")
    for micro_batch, recompute, sequence in product((1, 2, 4, 8), ("none", "full"), (False, True)):
        if facts.global_batch % (dp * micro_batch) == 0:
            yield {
                "micro_batch": micro_batch,
                "recompute": recompute,
                "sequence_parallel": sequence,
                "precision": low,
                "zero_stage": 1,
            }


def _axes(strategy: Strategy, tps: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    for axis in ("dp", "pp", "cp", "ep", "micro_batch", "zero_stage", "recompute", "schedule", "precision", "offload"):
        yield axis, getattr(strategy, axis)
    yield from (("tp", tp) for tp in tps)


def _powers(most: int) -> list[int]:
    """Powers of two that divide.

    >>> _powers(24)
    [1, 2, 4, 8]
    """
    return [1 << i for i in range(most.bit_length()) if most % (1 << i) == 0]


def _balanced(task: Task, cluster: Cluster, draft: _Draft, share: float) -> Relay | None:
    """Blocks dealt out so that stages end together, fewer where memory is short; None where they do not all fit."""
    link, n_blocks = _joint(cluster), _n_blocks(task, cluster)
    room = np.repeat([group.device.memory_bytes * share for group in draft.groups], draft.n_stages)
    most = np.full(len(room), n_blocks)
    blocks = even_stages(n_blocks, len(room))
    best: Relay | None = None
    for _ in range(ROUNDS):
        sections = draft.sections(blocks)
        cost = relay_cost(task.model, task.workload, sections, task.stack, link)
        fits = bool(np.all(cost.stage_bytes <= room))
        if fits and (best is None or cost.step_s < best.step_s):
            best = Relay(sections=sections, cost=cost)
        held = np.array(blocks)
        most = np.where(cost.stage_bytes > room, np.minimum(most, held - 1), most)
        dealt = _dealt(cost.stage_s, held, most, n_blocks)
        if dealt is None or dealt == blocks:
            break
        blocks = dealt
    return best


def _dealt(seconds: Any, held: Any, most: Any, n_blocks: int) -> tuple[int, ...] | None:
    """Blocks given one by one to the stage that would be done first, none more than it has room for.

    A block takes what the stage's now take each; the ends' embedding and head are charged to their blocks.

    >>> _dealt(np.array([2.0, 4.0]), np.array([4, 4]), np.array([8, 8]), 8)
    (6, 2)
    """
    if most.min() < 1 or most.sum() < n_blocks:
        return None
    each = seconds / np.maximum(held, 1)
    blocks = np.ones(len(held), dtype=int)
    for _ in range(n_blocks - len(held)):
        after = np.where(blocks < most, (blocks + 1) * each, np.inf)
        blocks[int(np.argmin(after))] += 1
    return tuple(int(n) for n in blocks)
