"""What a search is asked for: a goal, and limits that an answer must keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Goal = Literal["fastest", "cheapest", "least-memory"]
GOALS: tuple[Goal, ...] = get_args(Goal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A goal and its limits; None: no limit.

    ``n_steps``: optimizer steps of the whole job, which turn a deadline and a budget into seconds and dollars a step.
    ``headroom_share``: share of each device's memory that stays free. ``n_shown``: how many answers to return.
    ``max_candidates``: above it finer parts of the space are left out, which the answer tells.
    """

    goal: Goal = "fastest"
    n_steps: float | None = None
    deadline_s: float | None = None
    budget_dollars: float | None = None
    max_devices: int | None = None
    headroom_share: float = 0.05
    n_shown: int = 8
    max_candidates: int | None = 2_000_000
    tp_across_nodes: bool = False
