"""Carry out the plan in a folder: `trainwright train` ends here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from trainwright.env import Launched, keep_torch_files_in, launched
from trainwright.errors import DataError, InvalidInputError
from trainwright.jobs.store import job_from_dict
from trainwright.records.plan import PlanRecord, read_plan
from trainwright.records.run import FILE_NAME as RUN_NAME
from trainwright.records.run import Evaluation, RunRecord, read_run
from trainwright.records.step import StepRecord
from trainwright.runtime.folder import only_run_in
from trainwright.runtime.launch import Orders, launch
from trainwright.train.prepare import prepare_data

Event = StepRecord | Evaluation | str
"""What a run tells while it runs: a step, a check on the held-out text, or a note for people."""


def run_plan(folder: Path, *, progress: Callable[[Event], None] | None = None) -> RunRecord:
    """Run the plan of ``folder`` (or go on with it) and return its record; a finished run is not run again.

    Starts the processes itself; under torchrun or srun this process is one of theirs. One process runs in place,
    which spares a second import of torch. Raises what ended the run: InterruptedRunError, PreemptedError,
    NumericsError, DataError, CheckpointError, InvalidInputError.
    """
    plan = read_plan(folder)
    keep_torch_files_in(folder.absolute() / ".torch")
    tell = progress if progress is not None else _ignore
    place = launched()
    if place is not None:
        return _run_as_one_of(place, folder, plan, tell)
    with only_run_in(folder):
        done = _finished(folder)
        if done is not None:
            tell(f"{folder} is finished: nothing left to do")
            return done
        _prepare(folder, plan)
        return _run_in_place(folder, plan, tell) if plan.chosen.n_processes == 1 else _run_in_many(folder, plan, tell)


def _prepare(folder: Path, plan: PlanRecord) -> None:
    job = job_from_dict(plan.job)
    try:
        prepare_data(folder / "data", job)
    except OSError as error:
        raise DataError(f"cannot write {folder / 'data'}: {error.strerror}", hint="make room there") from error


def _run_in_place(folder: Path, plan: PlanRecord, tell: Callable[[Event], None]) -> RunRecord:
    from trainwright.runtime.place import Place
    from trainwright.train.work import run_process

    place = Place(n_threads=plan.chosen.threads_per_process)
    record = run_process(folder, place, lambda kind, *rest: tell(rest[0]) if kind == "event" else None)
    assert record is not None
    return record


def _run_in_many(folder: Path, plan: PlanRecord, tell: Callable[[Event], None]) -> RunRecord:
    orders = Orders(
        module="trainwright.train.work",
        folder=folder.resolve(),
        n_processes=plan.chosen.n_processes,
        n_threads=plan.chosen.threads_per_process,
    )
    record: RunRecord = launch(orders, tell)
    return record


def _run_as_one_of(launched_as: Launched, folder: Path, plan: PlanRecord, tell: Callable[[Event], None]) -> RunRecord:
    from trainwright.runtime.place import Place, join_launched
    from trainwright.train.work import run_process

    if launched_as.n_processes != plan.chosen.n_processes:
        raise InvalidInputError(
            f"the plan is for {plan.chosen.n_processes} processes and the launcher started {launched_as.n_processes}",
            hint=f"start {plan.chosen.n_processes}, or plan again for {launched_as.n_processes}",
        )
    place = Place(
        rank=launched_as.rank,
        n_processes=launched_as.n_processes,
        local_rank=launched_as.local_rank,
        n_threads=plan.chosen.threads_per_process,
    )
    join_launched(launched_as, place)
    with only_run_in(folder) if place.leads else nullcontext():
        if place.leads:
            _prepare(folder, plan)
        _wait_for_leader()

        def relay(kind: str, *rest: Any) -> None:
            if kind == "event" and place.leads:
                tell(rest[0])

        record = run_process(folder, place, relay)
    return record if record is not None else read_run(folder)


def _wait_for_leader() -> None:
    import torch.distributed as dist

    dist.barrier()


def _finished(folder: Path) -> RunRecord | None:
    if not (folder / RUN_NAME).exists():
        return None
    record = read_run(folder)
    return record if record.status == "finished" else None


def _ignore(_event: Event) -> None:
    pass
