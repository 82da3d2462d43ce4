"""Carry out the plan in a folder: `trainwright train` ends here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trainwright.env import keep_torch_files_in, launched
from trainwright.records.lock import only_run_in
from trainwright.records.plan import PlanRecord, read_plan
from trainwright.records.run import FILE_NAME as RUN_NAME
from trainwright.records.run import Evaluation, RunRecord, read_run
from trainwright.records.step import StepRecord
from trainwright.runtime.folder import await_stragglers
from trainwright.runtime.launch import Orders, launch
from trainwright.train.elastic import Replan, hang_timeout_s, run_through_losses
from trainwright.train.prepare import prepare_run

Event = StepRecord | Evaluation | str
"""What a run tells while it runs: a step, a check on the held-out text, or a note for people."""


def run_plan(
    folder: Path, *, progress: Callable[[Event], None] | None = None, replan: Replan | None = None
) -> RunRecord:
    """Run the plan of ``folder`` (or go on with it) and return its record; a finished run is not run again.

    Starts the processes itself; under torchrun or srun this process is one of theirs. One process runs in place,
    which spares a second import of torch. ``replan`` plans again when processes are lost for good. Raises what ended
    the run: InterruptedRunError, PreemptedError, NumericsError, DataError, CheckpointError, InvalidInputError.
    """
    plan = read_plan(folder)
    keep_torch_files_in(folder.absolute() / ".torch")
    tell = progress if progress is not None else _ignore
    place = launched()
    if place is not None:
        from trainwright.train.joined import run_joined

        return run_joined(place, folder, tell, replan)
    with only_run_in(folder):
        done = _finished(folder)
        if done is not None:
            tell(f"{folder} is finished: nothing left to do")
            return done
        await_stragglers(folder)
        prepare_run(folder, plan)
        return run_through_losses(folder, lambda plan: _run_here(folder, plan, tell), tell, replan)


def _run_here(folder: Path, plan: PlanRecord, tell: Callable[[Event], None]) -> RunRecord:
    return _run_in_place(folder, plan, tell) if plan.chosen.n_processes == 1 else _run_in_many(folder, plan, tell)


def _run_in_place(folder: Path, plan: PlanRecord, tell: Callable[[Event], None]) -> RunRecord:
    from trainwright.runtime.place import Place
    from trainwright.train.work import run_process

    place = Place(n_threads=plan.chosen.threads_per_process, device_type=plan.device_type)
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
    record: RunRecord = launch(orders, tell, hang_timeout_s=hang_timeout_s(plan))
    return record


def _finished(folder: Path) -> RunRecord | None:
    if not (folder / RUN_NAME).exists():
        return None
    record = read_run(folder)
    return record if record.status == "finished" else None


def _ignore(_event: Event) -> None:
    pass
