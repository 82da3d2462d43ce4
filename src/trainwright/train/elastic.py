"""Runs that lose processes: start again, and with fewer plan again for what is left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError, WorkerLostError
from trainwright.jobs.store import job_from_dict
from trainwright.records.plan import FILE_NAME as PLAN_NAME
from trainwright.records.plan import PlanRecord, read_plan
from trainwright.records.run import RunRecord

Replan = Callable[[Path, int], PlanRecord]
"""Plans the run of a folder again for at most so many processes, and writes that plan; given by who may plan."""

FIRST_PLAN = "plan.first.json"
"""What was planned before processes were lost; it comes back when they do."""

LEAST_HANG_S = 600.0
STEPS_OF_A_HANG = 20.0
"""A run hangs when nothing moved for LEAST_HANG_S, or for so many predicted steps where they are longer."""


def hang_timeout_s(plan: PlanRecord) -> float:
    """How long all processes of a plan may stand still."""
    asked = job_from_dict(plan.job).hang_timeout
    return asked or max(LEAST_HANG_S, STEPS_OF_A_HANG * plan.chosen.step_s)


def settle_plan(folder: Path, n_there: int, tell: Callable[[Any], None], replan: Replan | None) -> int:
    """Make plan.json one for the processes that are there; returns how many of them it uses.

    Raises InvalidInputError when they are more than planned, or fewer and nobody may plan again.
    """
    plan = read_plan(folder)
    first = read_plan(folder / FIRST_PLAN) if (folder / FIRST_PLAN).exists() else plan
    planned, wanted = plan.chosen.n_processes, first.chosen.n_processes
    if n_there == planned:
        return planned
    if n_there == wanted:
        shutil.copyfile(folder / FIRST_PLAN, folder / PLAN_NAME)
        tell(f"{n_there} processes are there again: back to the first plan, {first.chosen.label}")
        return wanted
    if n_there > wanted or replan is None:
        raise InvalidInputError(
            f"the plan is for {wanted} processes and the launcher started {n_there}",
            hint=f"start {wanted}, or plan again for {n_there}",
        )
    return plan_for_fewer(folder, n_there, tell, replan).chosen.n_processes


def plan_for_fewer(folder: Path, n_there: int, tell: Callable[[Any], None], replan: Replan) -> PlanRecord:
    """Plan again for at most ``n_there`` processes; the first plan is kept beside."""
    before = read_plan(folder)
    if not (folder / FIRST_PLAN).exists():
        shutil.copyfile(folder / PLAN_NAME, folder / FIRST_PLAN)
    plan = replan(folder, n_there)
    tell(
        f"{n_there} of {before.chosen.n_processes} processes are left: planned again, {plan.chosen.label} "
        f"instead of {before.chosen.label}"
    )
    return plan


def run_through_losses(
    folder: Path, run: Callable[[PlanRecord], RunRecord], tell: Callable[[Any], None], replan: Replan | None
) -> RunRecord:
    """Run the folder's plan; when a process is lost start again, and when that does not help plan for one less.

    A start that got as far as a checkpoint counts as help. Raises WorkerLostError when nothing is left to try.
    """
    n_tried = 0
    while True:
        plan, saved = read_plan(folder), _saved(folder)
        n_restarts = job_from_dict(plan.job).restarts
        try:
            return run(plan)
        except WorkerLostError as lost:
            n_tried = 1 if _saved(folder) != saved else n_tried + 1
            if n_tried <= n_restarts:
                tell(f"{lost.message}: starting again from the newest checkpoint ({n_tried} of {n_restarts})")
            elif n_restarts and replan is not None and plan.chosen.n_processes > 1:
                plan_for_fewer(folder, plan.chosen.n_processes - 1, tell, replan)
                n_tried = 0
            else:
                raise


def _saved(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("step_*") if not path.suffix)
