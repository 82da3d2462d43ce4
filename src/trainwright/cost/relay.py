"""One pipeline over unlike groups of devices: each stage is priced on the devices that hold it.

Every section is a group with its own tensor parallelism and the stages it holds. Replicas of the data are as many in
each, and a replica's micro-batches run through all sections in turn. Gradients are joined inside a section only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from trainwright.cost.compose import Composed, Scales, compose, micro_batch_s
from trainwright.cost.corrections import scales_for
from trainwright.cost.exchange import spans
from trainwright.cost.ingredients import Ingredients, States, Work, ingredients, send_s
from trainwright.cost.memory import step_memory
from trainwright.cost.memory_rules import memory_rules, occupied_bytes
from trainwright.cost.setting import setting
from trainwright.cost.stack import Stack
from trainwright.cost.table import Array
from trainwright.hardware.cluster import NodeGroup
from trainwright.hardware.link import Link
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import ModelSpec

_ONCE = {"update": "update", "send": "pp"}
"""Ingredients that have one figure for the whole step, not one for each stage, and the scale of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """``strategy`` divides the whole pipeline as this group's devices do; they hold stages ``first`` up to ``last``."""

    group: NodeGroup
    strategy: Strategy
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayCost:
    """``stage_s``: seconds of a micro-batch on each stage, both ways; ``stage_bytes``: what its devices lose to it."""

    composed: Composed
    stage_s: Array
    stage_bytes: Array

    @property
    def step_s(self) -> float:
        """Seconds of a step."""
        return float(self.composed.step_s[0])


def relay_cost(
    model: ModelSpec, workload: Workload, sections: Sequence[Section], stack: Stack, between: Link
) -> RelayCost:
    """What a step of the pipeline costs, and each of its stages."""
    priced = [_priced(model, workload, section, stack, between) for section in sections]
    merged, scale = _merged(sections, priced)
    held = [_stage_bytes(model, workload, section, stack) for section in sections]
    return RelayCost(
        composed=compose(merged, scale), stage_s=micro_batch_s(merged, scale)[:, 0], stage_bytes=np.concatenate(held)
    )


def _priced(
    model: ModelSpec, workload: Workload, section: Section, stack: Stack, between: Link
) -> tuple[Ingredients, Scales]:
    """As if the whole pipeline stood on this group; sends cross what joins the groups."""
    asked = setting(model, workload, section.strategy, section.group, stack)
    joined = replace(section.group, intra=between, inter=between)
    across = replace(spans(asked.table, section.group, stack), pp=spans(asked.table, joined, stack).pp)
    here = ingredients(asked)
    work = replace(here.work, send=np.maximum(here.work.send, send_s(asked, across)))
    scales = scales_for(model, workload, section.group.device, stack, section.strategy.precision)
    return replace(here, work=work), scales


def _merged(sections: Sequence[Section], priced: Sequence[tuple[Ingredients, Scales]]) -> tuple[Ingredients, Scales]:
    """Each stage's row from the section that holds it; what comes once a step from the slowest section."""
    scale = [of for _, of in priced]
    work = _of_stages([one.work for one, _ in priced], sections, scale)
    states = _of_stages([one.states for one, _ in priced], sections, scale)
    counts = [section.last - section.first for section in sections]
    by_stage = {
        field.name: np.repeat([getattr(of, field.name) for of in scale], counts)[:, None]
        for field in fields(Scales)
        if field.name not in _ONCE.values()
    }
    overlaps = priced[0][0].overlaps
    return Ingredients(work=Work(**work), states=States(**states), overlaps=overlaps), Scales(**by_stage)


def _of_stages(
    parts: Sequence[Work | States], sections: Sequence[Section], scale: Sequence[Scales]
) -> dict[str, Array]:
    """The rows of each section's stages; what has no stages from the section where it takes the longest."""
    columns: dict[str, Array] = {}
    for field in fields(parts[0]):
        values = [getattr(one, field.name) for one in parts]
        if values[0].ndim == 2:
            columns[field.name] = np.concatenate([v[s.first : s.last] for v, s in zip(values, sections, strict=True)])
            continue
        kind = _ONCE.get(field.name)
        once = [v * (getattr(of, kind) if kind else 1.0) for v, of in zip(values, scale, strict=True)]
        columns[field.name] = np.max(np.stack(once), axis=0)
    return columns


def _stage_bytes(model: ModelSpec, workload: Workload, section: Section, stack: Stack) -> Array:
    rules = memory_rules(stack.name)
    _, stages = step_memory(model, workload, section.strategy, replace(rules, attention=stack.attention))
    allocated = np.array([float(np.sum(list(stage.values()))) for stage in stages[section.first : section.last]])
    degrees = (section.strategy.dp, section.strategy.tp, section.strategy.pp)
    occupied: Array = np.asarray(occupied_bytes(allocated, float(sum(d > 1 for d in degrees)), rules))
    return occupied
