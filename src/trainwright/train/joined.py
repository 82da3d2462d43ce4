"""One process of a run that torchrun, srun or Kubernetes started: join the others, run, and let one of them talk."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

from trainwright.env import Launched
from trainwright.errors import TrainwrightError, WorkerLostError
from trainwright.records.lock import only_run_in
from trainwright.records.plan import FILE_NAME as PLAN_NAME
from trainwright.records.plan import read_plan
from trainwright.records.run import RunRecord, read_run
from trainwright.runtime.heartbeat import Heartbeat
from trainwright.runtime.launch import GO_ON, is_of_the_wire, said_of_the_wire
from trainwright.runtime.place import Place, connect, join
from trainwright.runtime.rollcall import facts_here, roll_call
from trainwright.train.elastic import Replan, hang_timeout_s, settle_plan
from trainwright.train.prepare import prepare_run

BYE_S = 60.0
"""How long process 0 waits at the end for those that have nothing to do to hear of it."""


def run_joined(launched: Launched, folder: Path, tell: Callable[[Any], None], replan: Replan | None) -> RunRecord:
    """Carry out the folder's plan with the processes that the launcher started; fewer than planned plan again.

    An error that all processes have is told by the first of them only.
    """
    place = Place(rank=launched.rank, n_processes=launched.n_processes, local_rank=launched.local_rank)
    try:
        store = connect(launched, place)
    except TrainwrightError as error:
        error.told = place.local_rank > 0  # one for each node: each may see something else
        raise
    try:
        roll_call(store, place, facts_here(folder / PLAN_NAME))
        n_used = _agree_on_plan(store, place, folder, tell, replan)
        if place.rank >= n_used:
            return _stand_by(store, folder)
        return _run(store, place, folder, tell)
    except TrainwrightError as error:
        error.told = error.told or not _is_first_to_say(store, error)
        raise
    except RuntimeError as error:
        if not is_of_the_wire(str(error)):
            raise
        lost = WorkerLostError(
            f"process {place.rank} lost another process: {said_of_the_wire(str(error))}",
            hint=f"the process that went first says why; {GO_ON}",
        )
        lost.told = not _is_first_to_say(store, lost, key="lost")
        raise lost from error


def _agree_on_plan(store: Any, place: Place, folder: Path, tell: Callable[[Any], None], replan: Replan | None) -> int:
    """How many of the processes the plan uses, after process 0 planned again where they are fewer than it was for."""
    if place.leads:
        try:
            n_used = settle_plan(folder, place.n_processes, tell, replan)
        except TrainwrightError:
            store.set("n_used", "0")
            raise
        store.set("n_used", str(n_used))
        return n_used
    n_used = int(store.get("n_used"))
    if n_used == 0:
        refused = TrainwrightError("process 0 could not settle on a plan")
        refused.told = True
        raise refused
    return n_used


def _run(store: Any, place: Place, folder: Path, tell: Callable[[Any], None]) -> RunRecord:
    from trainwright.train.work import run_process

    plan, n_there = read_plan(folder), place.n_processes
    place = Place(
        rank=place.rank,
        n_processes=plan.chosen.n_processes,
        local_rank=place.local_rank,
        n_threads=plan.chosen.threads_per_process,
        device_type=plan.device_type,
    )
    heart = Heartbeat(store, place, hang_timeout_s(plan), tell)

    def relay(kind: str, *rest: Any) -> None:
        if kind == "beat":
            heart.beat(*rest)
        elif kind == "event" and place.leads:
            tell(rest[0])

    join(store, place)
    with only_run_in(folder) if place.leads else nullcontext():
        try:
            if place.leads:
                prepare_run(folder, plan)
            _wait_for_leader()
            record = run_process(folder, place, relay)
        finally:
            heart.stop()
            if place.leads:
                _dismiss(store, n_there - place.n_processes)
    return record if record is not None else read_run(folder)


def _stand_by(store: Any, folder: Path) -> RunRecord:
    """For a process that the plan has no use for: stay until the others are done, since launchers count heads."""
    store.wait(["over"], timedelta(days=365))
    store.add("gone", 1)
    return read_run(folder)


def _dismiss(store: Any, n_standing: int) -> None:
    """On process 0: let those that stand by go, and give them time to hear it."""
    store.set("over", "")
    deadline = time.monotonic() + BYE_S
    while store.add("gone", 0) < n_standing and time.monotonic() < deadline:
        time.sleep(0.1)


def _wait_for_leader() -> None:
    import torch.distributed as dist

    dist.barrier()


def _is_first_to_say(store: Any, error: TrainwrightError, key: str | None = None) -> bool:
    """Whether no other process had this error before; with the store gone, process 0 has spoken."""
    name = key or hashlib.sha256(str(error).encode()).hexdigest()
    try:
        return bool(store.add(f"told/{name}", 1) == 1)
    except RuntimeError:
        return False
