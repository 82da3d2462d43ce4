"""Start the processes of a run on this machine, hear from them, and end all when one ends badly.

Imports no torch: the launching process stays light and answers signals at once. A worker is
``python -m trainwright.runtime.worker MODULE FD``; it gets its orders and sends its messages over one pipe, and ends
itself when the launcher is gone.

Messages from a worker: ("port", n), ("event", anything), ("beat", step, what it does), ("done", result),
("failed", TrainwrightError), ("crashed", traceback).
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from trainwright import env
from trainwright.errors import InterruptedRunError, PreemptedError, TrainwrightError, WorkerLostError
from trainwright.runtime.watch import STALL_S, Sign, stall

GRACE_S = 5.0
"""How long the others may go on after one worker failed, before they are killed."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Signals that ask a run to save and stop; SIGUSR1 is what many Slurm scripts ask to be sent before the end."""

GO_ON = "run the same command again: it goes on from the newest checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What each worker is told: its module's ``work(orders, tell)`` is called with this."""

    module: str
    folder: Path
    n_processes: int
    n_threads: int
    rank: int = 0


@dataclass(slots=True)
class _Worker:
    rank: int
    process: subprocess.Popen[bytes]
    pipe: Connection
    heard_at: float = field(default_factory=time.monotonic)
    step: int = -1
    doing: str = "starting"
    result: Any = None
    failure: TrainwrightError | None = None
    ended: bool = False


def launch(orders: Orders, on_event: Callable[[Any], None], *, hang_timeout_s: float = 600.0) -> Any:
    """Run ``orders.module`` in ``n_processes`` processes; returns what rank 0 returned.

    Raises what the first failing worker raised; a worker that was killed, crashed or hangs is named.
    """
    workers = [_start(orders, rank) for rank in range(orders.n_processes)]
    try:
        with _forwarded_signals(workers) as seen:
            _listen(workers, on_event, hang_timeout_s)
    finally:
        _end(workers)
    failed = next((worker.failure for worker in _by_time_of_failure(workers) if worker.failure), None)
    if isinstance(failed, WorkerLostError) and seen:
        kind = InterruptedRunError if signal.SIGINT in seen else PreemptedError
        raise kind("stopped before it could save; the newest checkpoint is as it was", hint=GO_ON)
    if failed is not None:
        raise failed
    return workers[0].result


def _start(orders: Orders, rank: int) -> _Worker:
    ours, theirs = Pipe()
    log = (orders.folder / "logs").joinpath(f"process_{rank}.log")
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "trainwright.runtime.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env.worker_environment(orders.n_threads),
            start_new_session=True,
        )
    theirs.close()
    ours.send(
        Orders(
            module=orders.module,
            folder=orders.folder,
            n_processes=orders.n_processes,
            n_threads=orders.n_threads,
            rank=rank,
        )
    )
    return _Worker(rank=rank, process=process, pipe=ours)


def _listen(workers: list[_Worker], on_event: Callable[[Any], None], hang_timeout_s: float) -> None:
    """Until every worker ended, or one failed and the grace of the others is over."""
    deadline = float("inf")
    has_said = False
    while open_workers := [w for w in workers if not w.ended]:
        ready = wait([w.pipe for w in open_workers], timeout=min(1.0, hang_timeout_s / 4))
        for worker in open_workers:
            if worker.pipe in ready:
                _hear(worker, workers, on_event)
        if deadline == float("inf") and any(w.failure for w in workers):
            deadline = time.monotonic() + GRACE_S
        if time.monotonic() > deadline:
            return
        signs = [_sign(worker) for worker in open_workers]
        if hung := stall(signs, hang_timeout_s):
            open_workers[0].failure = WorkerLostError(hung, hint=GO_ON)
            return
        told = stall(signs, STALL_S)
        if told is not None and not has_said:
            on_event(told)
        has_said = told is not None


def _hear(worker: _Worker, workers: list[_Worker], on_event: Callable[[Any], None]) -> None:
    try:
        kind, *rest = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.ended = True
        worker.failure = worker.failure or _death(worker, len(workers))
        return
    worker.heard_at = time.monotonic()
    if kind == "event":
        on_event(rest[0])
    elif kind == "beat":
        worker.step, worker.doing = rest
    elif kind == "port":
        for other in workers[1:]:
            other.pipe.send(rest[0])
    elif kind == "done":
        worker.result = rest[0]
        worker.doing = "done"
    elif kind == "failed":
        worker.failure = rest[0]
    elif kind == "crashed":
        worker.failure = TrainwrightError(f"process {worker.rank} of {len(workers)} failed:\n{rest[0]}")


def _death(worker: _Worker, n_workers: int) -> TrainwrightError | None:
    code = worker.process.wait()
    if code == 0 and worker.doing == "done":
        return None
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    at = f"at step {worker.step}" if worker.step >= 0 else f"while {worker.doing}"
    return WorkerLostError(f"process {worker.rank} of {n_workers} {how} {at}", hint=GO_ON)


def _by_time_of_failure(workers: list[_Worker]) -> list[_Worker]:
    """First what a worker said itself or was killed by; last those that only lost their neighbour."""
    return sorted(workers, key=lambda w: (_is_consequence(w.failure), w.heard_at))


def _is_consequence(failure: TrainwrightError | None) -> bool:
    return failure is not None and is_of_the_wire(failure.message)


def is_of_the_wire(message: str) -> bool:
    """Whether an error only says that another process is gone."""
    words = (
        "Connection closed",
        "Connection was likely closed",
        "Connection reset",
        "Connection refused",
        "Broken pipe",
        "gloo",
        "NCCL",
    )
    return any(word in message for word in words)


def said_of_the_wire(message: str) -> str:
    """The fact in it, without the places in a library's code and its advice.

    >>> said_of_the_wire("[/pytorch/third_party/gloo/pair.cc:537] Read error [127.0.0.1]:1: Connection reset by peer. "
    ...     "This is typically caused by a remote worker hanging")
    'Read error [127.0.0.1]:1: Connection reset by peer'
    """
    first = re.sub(r"\[\S+\.(cc|cpp|h):\d+\]\s*", "", message.splitlines()[0])
    return first.partition(" This is typically")[0].rstrip(".")


def _sign(worker: _Worker) -> Sign:
    silent_s = time.monotonic() - worker.heard_at
    return Sign(rank=worker.rank, step=worker.step, doing=worker.doing, silent_s=silent_s)


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        if worker.process.poll() is None and worker.doing != "done":
            worker.process.kill()
        worker.process.wait()
        worker.pipe.close()


@contextmanager
def _forwarded_signals(workers: list[_Worker]) -> Iterator[list[int]]:
    """STOPPING go to the workers, which save and stop; a second Ctrl-C kills them. Gives what came."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def forward(number: int, _frame: object) -> None:
        seen.append(number)
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGKILL if seen.count(signal.SIGINT) > 1 else number)
        if seen.count(signal.SIGINT) > 1:
            raise InterruptedRunError("killed by a second Ctrl-C, without saving")

    before = {number: signal.signal(number, forward) for number in STOPPING}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
