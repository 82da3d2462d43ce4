"""Plan a job for this machine, run it, report it."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright.api.learning import learn
from trainwright.env import Launched, launched
from trainwright.errors import DataError, InvalidInputError, TrainwrightError
from trainwright.files import write_text
from trainwright.records.folder import PAGE_FILE, run_folder
from trainwright.records.lock import only_run_in
from trainwright.records.plan import FILE_NAME as PLAN_NAME
from trainwright.records.plan import PlanRecord, read_plan, write_plan
from trainwright.records.run import FILE_NAME as RUN_NAME
from trainwright.records.run import RunRecord, read_run
from trainwright.records.step import read_steps

if TYPE_CHECKING:
    from trainwright.capture.standin import Kernels
    from trainwright.hardware.machine import MachineProfile
    from trainwright.jobs.job import Job

FIRST_SAYS_S = 10.0
"""How long a launched process that sees what is wrong waits for the first of its node to say it: none ends before."""

Tell = Callable[[Any], None]
"""Where notes, step records and evaluations go while something runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """Where run folders go (None: as the job says), what of the plan is fixed, and whether to measure anew."""

    output: Path | None = None
    pins: str = ""
    fresh: bool = False


def prepare(path: Path | None, options: PrepareOptions, tell: Tell) -> Path:
    """The run folder with its plan.json: one to go on with, or a new one planned for this machine.

    ``path``: a job file, a plan.json, or the folder that holds one; None: the built-in example.
    """
    from trainwright.jobs.parse import example_job, load_job

    if place := launched():
        return _folder_for(place, path, options)
    if path is not None and (path.is_dir() or path.suffix == ".json"):
        return _folder_of_plan(path, options)
    return folder_of_job(example_job() if path is None else load_job(path), options, tell)


def _folder_for(place: Launched, path: Path | None, options: PrepareOptions) -> Path:
    """The folder for a process that torchrun or srun started; what is wrong, the first process of each node tells."""
    try:
        if path is not None and not path.exists():
            raise InvalidInputError(f"there is no {path}", hint="give a run folder that every node sees under one path")
        if path is None or not (path.is_dir() or path.suffix == ".json"):
            raise InvalidInputError(
                f"{path or 'the example'} has no plan, and a launcher started {place.n_processes} processes for it",
                hint="plan it first, as in `trainwright plan JOB --output runs/mine/plan.json`, and start runs/mine",
            )
        return _folder_of_plan(path, options)
    except TrainwrightError as error:
        if place.local_rank > 0:
            time.sleep(FIRST_SAYS_S)
            error.told = True
        raise


def _folder_of_plan(path: Path, options: PrepareOptions) -> Path:
    if options.pins or options.fresh:
        raise InvalidInputError(f"{path} is planned already", hint="give the job file to plan again, or edit plan.json")
    plan = read_plan(path)
    if path.is_dir() or path.name == PLAN_NAME:
        return path if path.is_dir() else path.parent
    folder = run_folder(options.output or Path(plan.job["output"]), plan.job["name"], plan.job)
    write_plan(folder, plan)
    return folder


def folder_of_job(job: Job, options: PrepareOptions, tell: Tell, *, again: bool = True) -> Path:
    """The job's run folder, planned; a finished one is only returned when not to run ``again``."""
    from trainwright.jobs.store import job_to_dict

    if job.images is not None:
        from trainwright.api.images import checked

        job = checked(job)
    folder = run_folder(options.output or job.output, job.name, job_to_dict(job), again=again)
    if (folder / PLAN_NAME).exists():
        tell(f"going on with {folder}")
        return folder
    with only_run_in(folder):
        try:
            _read_data(folder, job)  # first: a path that is not there should not cost a probe
            plan = plan_here(job, options, tell)
        except BaseException:
            shutil.rmtree(folder)
            raise
        write_plan(folder, plan)
    tell(f"run folder: {folder}")
    return folder


def _read_data(folder: Path, job: Job) -> None:
    from trainwright.train.prepare import prepare_data

    try:
        prepare_data(folder / "data", job)
    except OSError as error:
        raise DataError(f"cannot write {folder / 'data'}: {error.strerror}", hint="make room there") from error


def plan_here(job: Job, options: PrepareOptions, tell: Tell) -> PlanRecord:
    """The fastest plan for the job on this machine, probed if it was not yet."""
    from trainwright.api.known import known_model, whole_pins
    from trainwright.plan import here
    from trainwright.plan.pins import parse_pins

    profile = machine(tell, fresh=options.fresh)
    if job.images is not None:
        from trainwright.api.images import settled

        job = settled(job)
    known = known_model(job, kernels_of(profile))
    texts = [text for text in options.pins.split(",") if text.strip()]
    plan = here.plan_here(job, profile, parse_pins([*texts, *whole_pins(job, known)]), known)
    if job.images is not None:
        from trainwright.api.images import with_traced_peak

        plan = with_traced_peak(job, plan)
    tell(f"plan: {plan.chosen.label}")
    for sentence in plan.why:
        tell(f"  {sentence}")
    return plan


def kernels_of(profile: MachineProfile) -> Kernels:
    """Whose kernels a captured model would run here."""
    return "cpu" if profile.divisions[0].groups[0].device.kind == "cpu" else "gpu"


def machine(tell: Tell, *, fresh: bool = False) -> MachineProfile:
    """This machine's profile: measured in at most 20 s the first time, read from the cache after that."""
    from trainwright.probe.machine import this_machine

    return this_machine(fresh=fresh, say=tell)


def expected_steps(folder: Path) -> tuple[int | None, str, float | None]:
    """How many steps the plan of the folder takes in all (None where it stops when it stops improving), of what, and
    how many seconds one would take at the devices' peak."""
    from trainwright.jobs.store import job_from_dict
    from trainwright.plan.here import n_steps
    from trainwright.report.compare import unit_of

    plan = read_plan(folder)
    steps = n_steps(job_from_dict(plan.job))
    return None if steps is None else math.ceil(steps), unit_of(plan.job), plan.chosen.ideal_s


def verify(folder: Path, tell: Tell) -> None:
    """Try the plan of the folder on a tiny model of the same kind; NumericsError when one process differs."""
    from trainwright.runtime.verify import verify_plan

    found = verify_plan(folder)
    tell(f"verified: {found.n_gradients} gradients within {found.gradients:.1g} of one process's")


def run(folder: Path, tell: Tell) -> RunRecord:
    """Carry out the plan of the folder, or go on with it; a finished run is not run again.

    When processes are lost for good, it is planned again for those that are left.
    """
    from trainwright.train.run import run_plan

    was_done = (folder / RUN_NAME).exists() and read_run(folder).status == "finished"
    record = run_plan(folder, progress=tell, replan=lambda folder, n_left: replan(folder, n_left, tell))
    if record.status == "finished" and not was_done:
        learn(folder, tell)
    return record


def replan(folder: Path, n_left: int, tell: Tell) -> PlanRecord:
    """Plan the folder's job again for at most so many processes, write the plan, return it."""
    from trainwright.api.known import known_model
    from trainwright.jobs.store import job_from_dict
    from trainwright.plan.again import plan_again

    before = read_plan(folder)
    job = job_from_dict(before.job)
    profile = machine(tell)
    plan = plan_again(before, n_left, profile, known_model(job, kernels_of(profile)))
    write_plan(folder, plan)
    return plan


def report(folder: Path, page: Path | None = None) -> tuple[PlanRecord, RunRecord, Path]:
    """Read a run, write its page (default: report.html in the folder), and return plan, run and the page's path."""
    from trainwright.report.run_html import run_html

    plan, result = read_plan(folder), read_run(folder)
    target = page or folder / PAGE_FILE
    write_text(target, run_html(plan, result, read_steps(folder)))
    return plan, result, target
