"""The whole life of one process of a run: join the others, build, resume, train, finish."""

from __future__ import annotations

import dataclasses
import datetime
import platform
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer

from trainwright.errors import InvalidInputError, TrainwrightError
from trainwright.files import write_text
from trainwright.jobs.job import Job
from trainwright.jobs.model import start_folder
from trainwright.jobs.store import job_from_dict
from trainwright.jobs.strategy import Strategy
from trainwright.probe.allocator import collect_again, keep_pages
from trainwright.records.plan import PlanRecord, read_plan
from trainwright.records.run import RankRecord, RunRecord, write_run
from trainwright.records.step import read_steps, step_line
from trainwright.runtime.batchnorm import batch_norm_told, join_batch_norms
from trainwright.runtime.checkpoint import Shelf
from trainwright.runtime.compiling import compile_blocks
from trainwright.runtime.device import device_of, stay_near
from trainwright.runtime.hollow import hollow
from trainwright.runtime.launch import STOPPING, Orders
from trainwright.runtime.mesh import STATES, make_mesh
from trainwright.runtime.model import build_model
from trainwright.runtime.place import COLLECTIVE_TIMEOUT_S, Place, join_local, leave, use_threads
from trainwright.runtime.portion import check_batch, micro_size
from trainwright.runtime.precision import precision
from trainwright.runtime.saver import Saver
from trainwright.runtime.scaling import LossScaled
from trainwright.runtime.server import AsyncServer, served
from trainwright.runtime.shard import Sharded, shard_model
from trainwright.runtime.sync import EveryStep, LocalSteps, Server, Sync, refuse_divided
from trainwright.runtime.weights import Folder, fill, open_folder
from trainwright.train.finish import finish_run
from trainwright.train.loop import train
from trainwright.train.measure import middle_half, resident_bytes
from trainwright.train.optimizer import block_matrices, make_optimizer, refuse_parts
from trainwright.train.session import N_FLAGS, Session
from trainwright.train.tasks import open_task
from trainwright.train.trackers import Tracked
from trainwright.train.transfer import freeze_for, rate_share, settled_at
from trainwright.units import format_bytes

WORK = ("forward", "backward", "optimizer")
"""What a process computes; the rest of a step it exchanges or waits."""

GIVE_UP_S = 60.0
"""How long a run that failed lets a checkpoint end that is being written."""


def work(orders: Orders, telephone: Any) -> RunRecord | None:
    """What a process started by our own launcher does."""
    place = Place(
        rank=orders.rank,
        n_processes=orders.n_processes,
        local_rank=orders.rank,
        n_threads=orders.n_threads,
        device_type=read_plan(orders.folder).device_type,
    )
    port = None if place.leads else telephone.ask()
    join_local(place, port, lambda opened: telephone.tell("port", opened))
    return run_process(orders.folder, place, telephone.tell)


def run_process(folder: Path, place: Place, tell: Callable[..., None]) -> RunRecord | None:
    """Carry out the folder's plan as one process; the leader returns (and writes) the record of the run."""
    settle_process(place)
    session: Session | None = None
    tracked, is_known = Tracked(tell), False
    try:
        session = open_session(folder, read_plan(folder), place, tracked)
        session.resume()
        if place.leads:
            tracked.begin(session.job.trackers, folder, session.job.name, session.step)
        session.sync.begin()
        collect_again()
        _forget_steps_after(session)
        with _stop_signals(session):
            train(session)
        _end_sync(session)
        record = _conclude_together(session, "finished", agreed=True)
        is_known = True
        return record
    except TrainwrightError as error:
        is_known = True
        if session is not None:
            session.saver.give_up(GIVE_UP_S)
            status = {75: "preempted", 130: "interrupted"}.get(error.exit_code, "failed")
            _conclude_together(session, status, agreed=bool(session.asked_to_stop) and status != "failed")
        raise
    finally:
        if session is not None and session.steps_file is not None:
            session.steps_file.close()
        tracked.end()
        if is_known and (session is None or not session.saver.is_writing):
            leave()  # gloo may abort when it is taken down amid work, and a traceback would never be told


def settle_process(place: Place) -> None:
    """What holds for the whole process: freed memory is kept, torch has its threads, a GPU its cores."""
    keep_pages()
    use_threads(place.n_threads)
    stay_near(device_of(place.device_type, place.local_rank))


def open_session(folder: Path, plan: PlanRecord, place: Place, tell: Callable[..., None]) -> Session:
    """Build model, optimizer and data order on this process's part of the mesh."""
    job = job_from_dict(plan.job)
    strategy = strategy_of(plan)
    mesh = make_mesh(strategy, place)
    check_batch(strategy, job.global_batch)
    model, start = _build(job, plan, strategy)
    task, notes = open_task(folder, job, plan, model)
    share = rate_share(model, job.transfer)
    if job.transfer is None or job.transfer.unfreeze_every is None:
        freeze_for(model, job.transfer)
    sharded = shard_model(model, strategy, mesh)
    if start is not None:
        notes.append(f"{format_bytes(fill(sharded, start))} of weights read from {start.path} by process 0")
    refuse_divided(job.sync, sharded)
    if mesh.dp > 1 and job.sync.mode in ("all_reduce", "server"):
        join_batch_norms(model, mesh.group(*STATES, "rep"))
    if job.sync.mode == "async_server":
        sharded = served(sharded)
    refuse_parts(job.optimizer, sharded)
    matrices = block_matrices(job.optimizer, sharded)
    optimizer = make_optimizer(sharded.parameters, job.optimizer, share, matrices=matrices)
    freeze_for(model, job.transfer)
    notes += batch_norm_told(model, job.global_batch, int(strategy.micro_batch) * mesh.dp)
    session = Session(
        folder=folder,
        job=job,
        place=place,
        sharded=sharded,
        optimizer=optimizer,
        sync=sync_of(job, sharded, optimizer, strategy.precision),
        saver=saver_of(folder, job, place),
        task=task,
        precision=precision(strategy.precision, plan.device_type),
        n_steps=n_steps_of(job),
        tell=tell,
        micro_batch=micro_size(strategy, mesh.dp_index),
        settled_step=settled_at(model, job.transfer, n_steps_of(job)),
    )
    for note in notes if place.leads else ():
        session.note(note)
    return session


def saver_of(folder: Path, job: Job, place: Place) -> Saver:
    """What writes the run's checkpoints; its threads talk through a process group of their own."""
    timeout = datetime.timedelta(seconds=COLLECTIVE_TIMEOUT_S)
    group = dist.new_group(backend="gloo", timeout=timeout) if place.n_processes > 1 else None
    return Saver(
        Shelf(
            folder=folder / "checkpoints",
            place=place,
            keep=job.keep_checkpoints,
            keep_best=job.keep_best,
            group=group,
        )
    )


def _build(job: Job, plan: PlanRecord, strategy: Strategy) -> tuple[nn.Module, Folder | None]:
    """The model with its first weights, or a hollow one with the folder whose weights it is to have."""
    start = start_folder(job)
    with nullcontext() if start is None else hollow():
        model = build_model(plan.model, job.seed)
    if job.compile:
        compile_blocks(model, strategy)
    return model, None if start is None else open_folder(start, model)


def sync_of(job: Job, sharded: Sharded, optimizer: Optimizer, precision_name: str) -> Sync:
    """How the job wants its replicas kept together; in fp16 with the loss scaled."""
    if precision_name == "fp16":
        if job.sync.mode != "all_reduce":
            raise InvalidInputError(
                f"fp16 scales the loss of all replicas together, and sync.mode is {job.sync.mode}", hint="use bf16"
            )
        return LossScaled(EveryStep(sharded, optimizer))
    if job.sync.mode == "async_server":
        return AsyncServer(sharded, optimizer, job.sync.staleness, N_FLAGS)
    if job.sync.mode in ("local_sgd", "diloco"):
        return LocalSteps(sharded, optimizer, job.sync, n_steps_of(job))
    if job.sync.mode == "server" and sharded.mesh.dp > 1:
        return Server(sharded, optimizer)
    return EveryStep(sharded, optimizer)


def _end_sync(session: Session) -> None:
    if told := session.sync.end():
        session.note(told)


def strategy_of(plan: PlanRecord) -> Strategy:
    """The chosen strategy as a value."""
    fields = dict(plan.chosen.strategy)
    for name in ("order", "stages", "samples"):
        if fields.get(name) is not None:
            fields[name] = tuple(fields[name])
    return Strategy(**fields)


def n_steps_of(job: Job) -> int | None:
    """How many steps the stopping rule asks for; None when only patience ends the run."""
    if job.stopping.steps is not None:
        return job.stopping.steps
    if job.stopping.tokens is not None:
        return max(round(job.stopping.tokens / (job.global_batch * job.seq)), 1)
    return None


@contextmanager
def _stop_signals(session: Session) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGUSR1 ask the session to save and stop after the step; a second Ctrl-C stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, _frame: object) -> None:
        if number == signal.SIGINT and session.stop_asked_here == "interrupt":
            raise KeyboardInterrupt
        session.stop_asked_here = "interrupt" if number == signal.SIGINT else "preempt"

    before = {number: signal.signal(number, ask) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _forget_steps_after(session: Session) -> None:
    """Rewrite steps.jsonl without the steps that will be done again, and without a line cut short by a crash."""
    path = session.folder / "steps.jsonl"
    if session.place.leads and path.exists():
        kept = [record for record in read_steps(session.folder) if record.step < session.step]
        write_text(path, "".join(map(step_line, kept)))


def _conclude_together(session: Session, status: str, *, agreed: bool) -> RunRecord | None:
    """Nobody leaves before the leader has written: a launcher may end all processes when the first one goes.

    Where the processes have not ``agreed`` on how it ends (an error, a signal while the model is written), others may
    be anywhere, and nobody is waited for.
    """
    record = _conclude(session, status, agreed=agreed)
    if session.place.n_processes > 1 and agreed:
        session.beat("waiting for process 0 to write the model" if not session.place.leads else "writing the model")
        dist.barrier()
    return record


def _conclude(session: Session, status: str, *, agreed: bool) -> RunRecord | None:
    """Gather what every process measured; the leader writes run.json."""
    ranks = _gather_ranks(session, agreed=agreed)
    if not session.place.leads:
        return None
    finished = finish_run(session) if status == "finished" else {}
    step_s, parts = _busiest(ranks)
    record = RunRecord(
        status=status,
        steps=session.step,
        tokens=session.step * session.tokens_per_step,
        seconds=session.seconds,
        step_s=step_s,
        time=parts,
        measured_steps=len(session.measured),
        tokens_per_s=session.tokens_per_step / step_s if step_s else 0.0,
        peak_bytes=max((rank.peak_bytes for rank in ranks if rank.peak_bytes is not None), default=None),
        resident_bytes=tuple(rank.resident_bytes for rank in ranks),
        ranks=tuple(ranks),
        first_loss=session.losses.get("first"),
        last_loss=session.losses.get("last"),
        evaluations=tuple(session.evaluations),
        resumed_from=session.resumed_from,
        checkpoint_s=session.saver.cost.stall_s,
        checkpoint_writing_s=session.saver.cost.writing_s,
        n_checkpoints=session.saver.cost.n,
        skipped_steps=tuple(session.skipped),
        notes=tuple(session.notes),
        environment=_environment(session.place),
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **finished,
    )
    write_run(session.folder, record)
    return record


def _gather_ranks(session: Session, *, agreed: bool) -> list[RankRecord]:
    """What every process measured, by rank; its own alone where others may be gone."""
    steps = session.measured
    if not steps and session.place.leads:
        steps = list(read_steps(session.folder))
    mine = RankRecord(
        rank=session.place.rank,
        peak_bytes=session.peak_bytes,
        resident_bytes=resident_bytes(),
        time=middle_half(steps)[1] if steps else {},
    )
    if session.place.n_processes == 1 or not agreed:
        return [mine]
    everyone: list[Any] = [None] * session.place.n_processes
    dist.all_gather_object(everyone, mine)
    return everyone


def _busiest(ranks: Sequence[RankRecord]) -> tuple[float, dict[str, float]]:
    """(seconds of a step, by part) of the process that computed the longest and so waited the least."""
    parts = max((rank.time for rank in ranks), key=lambda time: sum(time.get(name, 0.0) for name in WORK))
    return sum(parts.values()), parts


def _environment(place: Place) -> dict[str, Any]:
    return {
        **dataclasses.asdict(place),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
