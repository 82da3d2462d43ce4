"""The search: every legal split on every cluster, memory first, then time, then a ranking for the goal.

No formula stands here: ``cost`` prices whole tables, and what is left is to sort them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.stack import Stack
from trainwright.errors import InvalidInputError
from trainwright.hardware.cluster import Cluster
from trainwright.jobs.job import Workload
from trainwright.models.spec import ModelSpec
from trainwright.plan.aim import Aim
from trainwright.plan.choice import Choice
from trainwright.plan.costed import Costed, Task, cost_families, room_bytes
from trainwright.plan.division import balanced
from trainwright.plan.facts import Facts, gather_facts
from trainwright.plan.pareto import front
from trainwright.plan.pins import Pin
from trainwright.plan.price import price
from trainwright.plan.space import Space, divisors, make_space, why_empty

_TRIES = 64
"""Smaller device counts tried when the whole cluster allows no legal split."""


SPARE = 12
"""Answers beyond those shown whose blocks are balanced over the stages too, since that may bring them forward."""

LEAST = 50_000
"""Candidates that each of many clusters may have at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The answer. ``ranking``: distinct ways to divide that keep every limit, best first; empty when none does.

    ``front``: the Pareto front over time, money and memory of all that fits. ``nearest``: what comes closest where
    ``ranking`` is empty: over memory by the least, or over the limits by the least. ``n_costed`` candidates had their
    memory computed and ``n_timed`` of them fitted and were timed. ``left_out`` says what was not looked at, and
    ``empty`` why a cluster had no candidate at all.
    """

    aim: Aim
    ranking: tuple[Choice, ...]
    front: tuple[Choice, ...]
    nearest: tuple[Choice, ...]
    n_costed: int
    n_timed: int
    seconds: float
    left_out: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    @property
    def best(self) -> Choice | None:
        """The winner; None when nothing keeps the limits."""
        return self.ranking[0] if self.ranking else None


def search(
    model: ModelSpec,
    workload: Workload,
    clusters: Iterable[Cluster],
    stack: Stack,
    aim: Aim | None = None,
    pins: Iterable[Pin] = (),
) -> SearchResult:
    """Every legal strategy on each of the clusters, ranked for the aim.

    Raises InvalidInputError when no cluster has any legal strategy, naming what emptied the space.
    """
    started, aim, pins = perf_counter(), aim or Aim(), tuple(pins)
    task = Task(model=model, workload=workload, stack=stack)
    all_costed: list[Costed] = []
    clusters = tuple(clusters)
    shared = replace(aim, max_candidates=share_of(aim.max_candidates, len(clusters)))
    left_out: dict[str, None] = {}
    errors: list[InvalidInputError] = []
    for cluster in clusters:
        facts = gather_facts(model, workload, cluster, tp_across_nodes=aim.tp_across_nodes)
        space = find_space(facts, shared, pins)
        if not space.n_candidates:
            errors.append(why_empty(facts, device_counts(facts, aim), pins))
            continue
        left_out |= dict.fromkeys(space.left_out)
        all_costed.append(cost_families(task, cluster, space.families, room_bytes(cluster, aim.headroom_share)))
    if not all_costed:
        raise _nowhere(errors)
    columns = _Columns.of(all_costed, aim)
    best = columns.distinct(columns.score(aim.goal), aim.n_shown + SPARE)
    nearest = best[:0] if best.size else columns.distinct(columns.miss(aim), aim.n_shown)
    ranking = [
        balanced(task, choice, room_bytes(choice.cluster, aim.headroom_share))
        for choice in _choices(task, all_costed, best)
    ]
    return SearchResult(
        aim=aim,
        ranking=tuple(sorted(ranking, key=lambda choice: choice.figure(aim.goal))[: aim.n_shown]),
        front=_choices(task, all_costed, columns.front()),
        nearest=_choices(task, all_costed, nearest),
        n_costed=len(columns.step_s),
        n_timed=sum(costed.n_timed for costed in all_costed),
        seconds=perf_counter() - started,
        left_out=tuple(left_out),
        empty=tuple(error.message for error in errors),
    )


def _nowhere(errors: list[InvalidInputError]) -> InvalidInputError:
    """One error for every cluster that has no legal strategy."""
    if len(errors) == 1:
        return errors[0]
    each = "\n  ".join(error.message for error in errors)
    return InvalidInputError(f"none of {len(errors)} clusters has a legal strategy:\n  {each}", hint=errors[-1].hint)


def share_of(max_candidates: int | None, n_clusters: int) -> int | None:
    """How many candidates each of several clusters may have.

    >>> share_of(2_000_000, 1), share_of(2_000_000, 50), share_of(None, 2)
    (2000000, 50000, None)
    """
    return None if max_candidates is None else max(LEAST, max_candidates // max(1, n_clusters))


def device_counts(facts: Facts, aim: Aim) -> tuple[int, ...]:
    """How many devices the candidates may use: all that are there for the fastest, any even share for less money."""
    most = min(facts.n_devices, aim.max_devices or facts.n_devices)
    if aim.goal == "fastest" and aim.budget_dollars is None:
        return (most,)
    return tuple(int(count) for count in divisors(most)[::-1])


def find_space(facts: Facts, aim: Aim, pins: tuple[Pin, ...]) -> Space:
    """The space on all devices; on the most devices that allow any legal split, where all of them allow none."""
    counts = device_counts(facts, aim)
    space = make_space(facts, counts, pins, aim.max_candidates)
    most = max(counts)
    for count in range(most - 1, max(0, most - _TRIES), -1):
        if space.n_candidates:
            return space
        space = make_space(facts, (count,), pins, aim.max_candidates)
    return space


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """All candidates of all clusters in one order; ``whole_*`` are of the whole job where its steps are known."""

    step_s: NDArray[np.float64]
    dollars: NDArray[np.float64]
    peak_bytes: NDArray[np.float64]
    shapes: NDArray[np.int64]
    within: NDArray[np.bool_]
    lengths: tuple[int, ...]
    rooms: tuple[float, ...]

    @classmethod
    def of(cls, all_costed: list[Costed], aim: Aim) -> _Columns:
        """The columns of every cluster, one after another."""
        step_s = _joined([costed.step_s for costed in all_costed])
        dollars = _joined([costed.dollars for costed in all_costed])
        n_steps = aim.n_steps or 1.0
        within = np.isfinite(step_s)
        if aim.deadline_s is not None:
            within &= step_s * n_steps <= aim.deadline_s
        if aim.budget_dollars is not None:
            within &= dollars * n_steps <= aim.budget_dollars
        return cls(
            step_s=step_s,
            dollars=dollars,
            peak_bytes=_joined([costed.peak_bytes for costed in all_costed]),
            shapes=_joined([costed.shapes for costed in all_costed]),
            within=within,
            lengths=tuple(len(costed.step_s) for costed in all_costed),
            rooms=tuple(room_bytes(costed.cluster, aim.headroom_share) for costed in all_costed),
        )

    def ways(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """A number for each way to divide on each cluster."""
        cluster = np.searchsorted(np.cumsum(self.lengths), rows, side="right")
        return self.shapes[rows] * 4_099 + cluster

    def score(self, goal: str) -> NDArray[np.float64]:
        """What the goal minimizes; infinite for what does not keep the limits."""
        column = {"fastest": self.step_s, "cheapest": self.dollars, "least-memory": self.peak_bytes}[goal]
        return np.where(self.within, column, np.inf)

    def miss(self, aim: Aim) -> NDArray[np.float64]:
        """By what factor a candidate misses its worst limit: memory first, then deadline and budget."""
        worst: NDArray[np.float64] = self.peak_bytes / np.repeat(self.rooms, self.lengths)
        if not np.isfinite(self.step_s).any():
            return worst
        n_steps = aim.n_steps or 1.0
        worst = np.where(np.isfinite(self.step_s), 1.0, np.inf)
        if aim.deadline_s is not None:
            worst = np.maximum(worst, self.step_s * n_steps / aim.deadline_s)
        if aim.budget_dollars is not None:
            worst = np.maximum(worst, self.dollars * n_steps / aim.budget_dollars)
        return worst

    def distinct(self, score: NDArray[np.float64], n_shown: int) -> NDArray[np.int64]:
        """The best candidates, one for each way to divide; ties by time, money, then memory."""
        finite = np.flatnonzero(np.isfinite(score))
        n_sorted = 4096
        while True:
            low = finite
            if n_sorted < len(finite):
                limit = np.partition(score[finite], n_sorted)[n_sorted]
                low = finite[score[finite] <= limit]
            keys = (self.peak_bytes[low], self.dollars[low], self.step_s[low], score[low])
            order = low[np.lexsort(keys)]
            _, first = np.unique(self.ways(order), return_index=True)
            if len(first) >= n_shown or len(low) == len(finite):
                return order[np.sort(first)[:n_shown]]
            n_sorted *= 16

    def front(self) -> NDArray[np.int64]:
        """The Pareto front of what fits."""
        fits = np.flatnonzero(np.isfinite(self.step_s))
        return fits[front(self.step_s[fits], self.dollars[fits], self.peak_bytes[fits])]


def _joined(columns: list[NDArray[Any]]) -> NDArray[Any]:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _choices(task: Task, all_costed: list[Costed], indices: NDArray[np.int64]) -> tuple[Choice, ...]:
    """Full estimates of some rows."""
    starts = np.cumsum([0, *(len(costed.step_s) for costed in all_costed)])
    chosen: list[Choice] = []
    for index in indices:
        which = int(np.searchsorted(starts, index, side="right")) - 1
        costed = all_costed[which]
        chosen.append(price(task, costed.cluster, costed.strategy(int(index - starts[which]))))
    return tuple(chosen)
