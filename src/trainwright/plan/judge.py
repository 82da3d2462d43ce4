"""The planner's choice among strategies that somebody measured on the same job and machine, and what it loses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from trainwright.cost.published.case import Case
from trainwright.plan.aim import Aim
from trainwright.plan.choice import capacity_bytes
from trainwright.plan.costed import Task, occupied


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A group of runs that differ in strategy only: how many strategies, and measured seconds of chosen and best."""

    source: str
    n_strategies: int
    chosen_s: float
    best_s: float

    @property
    def loss(self) -> float:
        """By what share the choice is slower than the best."""
        return self.chosen_s / self.best_s - 1.0


def judge(cases: Sequence[Case], predicted_s: Sequence[float], headroom_share: float | None = None) -> list[Judged]:
    """The choice in every group with two strategies or more: of those that fit, as the search ranks, the fastest.

    Runs of one strategy count once, as their mean. Where nothing is thought to fit, the smallest is chosen.
    """
    share = Aim().headroom_share if headroom_share is None else headroom_share
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        groups[case.group, case.stack.name].append(index)
    found = []
    for rows in groups.values():
        runs: dict[str, list[int]] = defaultdict(list)
        for index in rows:
            runs[repr(cases[index].strategy)].append(index)
        if len(runs) < 2:
            continue
        measured = [sum(float(cases[i].step_s or 0.0) for i in same) / len(same) for same in runs.values()]
        ranks = [_rank(cases[same[0]], float(predicted_s[same[0]]), share) for same in runs.values()]
        chosen = measured[ranks.index(min(ranks))]
        source = cases[rows[0]].source
        found.append(Judged(source=source, n_strategies=len(runs), chosen_s=chosen, best_s=min(measured)))
    return found


def _rank(case: Case, predicted_s: float, headroom_share: float) -> tuple[bool, float]:
    """What the search ranks by: whether it fits, then seconds; bytes where it does not fit."""
    needed = occupied(Task(model=case.model, workload=case.workload, stack=case.stack), case.strategy)
    if needed > capacity_bytes(case.cluster) * (1.0 - headroom_share):
        return True, needed
    return False, predicted_s
