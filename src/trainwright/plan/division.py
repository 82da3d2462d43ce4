"""How many blocks each pipeline stage gets: as even as they go, then fewer where the embedding and the head lie.

The search prices even divisions, with the ends lighter where blocks do not divide; what it finds is then balanced here,
one block at a time, and priced again by the same functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from trainwright.cost.compose import micro_batch_s
from trainwright.cost.corrections import scales_for
from trainwright.cost.ingredients import ingredients
from trainwright.cost.setting import setting
from trainwright.cost.stages import n_repeats, parts
from trainwright.jobs.strategy import even_stages
from trainwright.plan.choice import Choice
from trainwright.plan.costed import Task
from trainwright.plan.price import price

MOVES = 24
"""Blocks moved at most."""

WORTH = 1e-3
"""Share of a step that an uneven division of blocks that do divide must save."""

Sizes = tuple[int, ...]


def balanced(task: Task, choice: Choice, room_bytes: float) -> Choice:
    """The choice with the division of its blocks that paces the pipeline the best, told stage by stage.

    The choice itself where it has no pipeline, several chunks a stage, or blocks that divide and lie well as they do.
    """
    strategy, n_blocks = choice.strategy, n_repeats(parts(task.model)[1])
    if strategy.pp == 1 or strategy.stages is not None or strategy.schedule == "interleaved":
        return choice
    if len(choice.cluster.groups) > 1 or n_blocks <= 1:
        return choice
    divides = n_blocks % int(strategy.pp) == 0
    for sizes in reversed(_levels(task, choice)):
        found = price(task, choice.cluster, replace(strategy, stages=sizes))
        if found.occupied_bytes <= room_bytes:
            gains = found.step_s < choice.step_s * (1.0 - WORTH)
            return found if gains or not divides else choice
    return choice


def _levels(task: Task, choice: Choice) -> tuple[Sizes, ...]:
    """Divisions from the even one on, each with one more block moved from the slowest stage to the fastest."""
    group, strategy = choice.cluster.groups[0], choice.strategy
    scales = scales_for(task.model, task.workload, group.device, task.stack, strategy.precision)

    def seconds(sizes: Sizes) -> list[float]:
        asked = setting(task.model, task.workload, replace(strategy, stages=sizes), group, task.stack)
        return [float(s) for s in micro_batch_s(ingredients(asked), scales)[:, 0]]

    return levels(even_stages(n_repeats(parts(task.model)[1]), int(strategy.pp)), seconds)


def levels(sizes: Sizes, seconds: Callable[[Sizes], list[float]]) -> tuple[Sizes, ...]:
    """The sizes, and after each move of one block from the slowest stage to the fastest, while the slowest gains.

    >>> levels((8, 8, 8, 8), lambda sizes: [*map(float, sizes[:3]), sizes[3] + 2.5])
    ((8, 8, 8, 8), (9, 8, 8, 7), (9, 9, 8, 6))
    """
    times, found = seconds(sizes), [sizes]
    for _ in range(MOVES):
        slow, fast = times.index(max(times)), times.index(min(times))
        if sizes[slow] <= 1 or slow == fast:
            break
        moved = tuple(n - (i == slow) + (i == fast) for i, n in enumerate(sizes))
        after = seconds(moved)
        if max(after) >= max(times):
            break
        sizes, times = moved, after
        found.append(sizes)
    return tuple(found)
