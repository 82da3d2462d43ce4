"""Every signal in every phase of `trainwright train`: does it end as promised, and go on as if nothing had been?

The command runs as a user types it, in a process forked from this one, which has torch imported; a phase begins when
its function is called, and then a helper process sends the signal to the command. The same command is given again.
Well is only a command that ends with the promised exit code within MOST_S, in one sentence, leaves no process, and
when run again finishes with the bits of one that was left alone.

    python -m benchmarks.signals [--processes 1 2] [--signals TERM KILL] [--phases computing]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import psutil
import pytest
from tests.cli.test_train import JOB as TINY
from tests.runtime.forked import Forked

from trainwright.cli.main import main as command_line
from trainwright.records.step import read_steps
from trainwright.runtime import launch

MOST_S = 30.0
"""How long a command that was told to stop may take."""

HOLD_S = 0.15
"""How long a phase is held at its beginning, so that the signals fall into it."""

PROBING_S = 1.5
"""When measuring is at its best; it is not held."""

JOB = TINY.replace("steps = 12", "steps = 9") + "[output]\nevaluate_every = 4\ncheckpoint_every = 3\n"

PHASES = {
    "probing": "trainwright.probe.machine:measured",
    "preparing data": "trainwright.train.prepare:prepare_data",
    "planning": "trainwright.plan.here:plan_here",
    "starting": "trainwright.train.work:open_session",
    "computing": "trainwright.train.loop:one_step",
    "evaluating": "trainwright.train.loop:evaluate",
    "checkpointing": "trainwright.runtime.saver:save_checkpoint",
    "writing the model": "trainwright.train.work:finish_run",
    "writing the report": "trainwright.report.run_html:run_html",
}
"""Each phase and the function that begins it."""

SIGNALS: dict[str, tuple[list[int], int]] = {
    "TERM": ([signal.SIGTERM], 75),
    "USR1": ([signal.SIGUSR1], 75),
    "INT": ([signal.SIGINT], 130),
    "INT INT": ([signal.SIGINT, signal.SIGINT], 130),
    "KILL": ([signal.SIGKILL], -signal.SIGKILL),
}
"""What is sent, and the exit code that is promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A command that is over: its exit code, what it said, and how long it took after the signal (or its start)."""

    code: int
    said: str
    seconds: float


def start(folder: Path, n_processes: int, meddle: Callable[[], object]) -> int:
    """The command in a forked process and session of its own, after ``meddle``; returns its process id."""
    pid = os.fork()
    if not pid:
        _command(folder, n_processes, meddle)
    return pid


def _command(folder: Path, n_processes: int, meddle: Callable[[], object]) -> NoReturn:
    os.setsid()
    with (folder / "said").open("wb") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.environ |= {"TRAINWRIGHT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    os.chdir(folder)
    code = 1
    try:
        meddle()
        command_line(["train", "job.toml", "--strategy", f"dp={n_processes},mb=4,precision=fp32"])
        code = 0
    except SystemExit as left:
        code = int(left.code or 0)
    except BaseException:  # noqa: BLE001 the edge of the process
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def send_in(phase: str, numbers: list[int], sent: Path) -> None:
    """Let the phase's function, when it is called first, have the signals sent to this process: the command."""
    command = os.getpid()
    place, _, name = PHASES[phase].partition(":")
    module = importlib.import_module(place)
    function = getattr(module, name)

    def held(*args: Any, **options: Any) -> Any:
        try:
            os.close(os.open(sent, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return function(*args, **options)
        probing = phase == "probing"
        if not os.fork():
            time.sleep(PROBING_S if probing else 0.0)
            for number in numbers:
                time.sleep(HOLD_S / 3)
                sent.write_text(repr(time.time()))
                os.kill(command, number)
            os._exit(0)
        time.sleep(0.0 if probing else HOLD_S)
        return function(*args, **options)

    setattr(module, name, held)


def ended(pid: int, folder: Path) -> Ended:
    """Wait for the command."""
    _, status = os.waitpid(pid, 0)
    sent = folder / "sent"
    began = float(sent.read_text()) if sent.exists() and sent.read_text() else time.time()
    said = (folder / "said").read_text(errors="replace")
    return Ended(code=os.waitstatus_to_exitcode(status), said=said, seconds=time.time() - began)


def left_over(folder: Path) -> Iterator[psutil.Process]:
    """Processes of the command that are still there."""
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder):
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def outcome(folder: Path) -> tuple[str, list[float]]:
    """Weights and losses of the run."""
    (run,) = [path for path in (folder / "runs").iterdir() if (path / "run.json").exists()]
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest(), [
        step.loss for step in read_steps(run)
    ]


def verdict(folder: Path, phase: str, name: str, n_processes: int, undisturbed: Any) -> str:
    """What the signal in this phase leads to: well, or what is wrong."""
    numbers, promised = SIGNALS[name]
    first = ended(start(folder, n_processes, lambda: send_in(phase, numbers, folder / "sent")), folder)
    wrong = []
    if not (folder / "sent").exists():
        return "the phase never came"
    if first.code != promised:
        wrong.append(f"exit code {first.code}, promised {promised}")
    if first.seconds > MOST_S:
        wrong.append(f"took {first.seconds:.0f} s")
    if "Traceback" in first.said or first.said.count("error: ") > 1:
        wrong.append(f"said {first.said[-400:]!r}")
    deadline = time.monotonic() + 5.0
    while (left := list(left_over(folder))) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        wrong.append(f"left {[' '.join(process.cmdline()) for process in left]}")
    (folder / "sent").unlink()
    again = ended(start(folder, n_processes, lambda: None), folder)
    if again.code:
        wrong.append(f"run again: exit code {again.code}, said {again.said[-400:]!r}")
    elif phase != "probing" and outcome(folder) != undisturbed:  # measured anew, the plan may be another
        wrong.append("run again: other bits at the end")
    return "; ".join(wrong) or f"well, {first.seconds:.1f} s"


def trial(around: Path, n_processes: int, phases: list[str], names: list[str]) -> Iterator[tuple[str, str, str]]:
    """(phase, signal, verdict) of each; the machine is measured once, and again only where that is the phase."""
    around.mkdir()
    (around / "job.toml").write_text(JOB)
    alone = ended(start(around, n_processes, lambda: None), around)
    assert alone.code == 0, alone.said
    undisturbed = outcome(around)
    for phase in phases:
        for number, name in enumerate(names):
            folder = around.with_name(f"{around.name} {phase} {number}")
            folder.mkdir()
            (folder / "job.toml").write_text(JOB)
            if phase != "probing":
                shutil.copytree(around / "cache", folder / "cache")
            yield phase, name, verdict(folder, phase, name, n_processes, undisturbed)


def main() -> None:
    """Print the table, and how many are not well."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--signals", nargs="+", choices=SIGNALS, default=list(SIGNALS))
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    arguments = parser.parse_args()
    bad = n = 0
    import trainwright.train.work  # noqa: F401 torch and transformers, for all that are forked

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "subprocess", SimpleNamespace(Popen=Forked, DEVNULL=subprocess.DEVNULL))
        for n_processes in arguments.processes:
            for phase, name, what in trial(
                Path(folder) / str(n_processes), n_processes, arguments.phases, arguments.signals
            ):
                print(f"{n_processes}  {phase:20} {name:8} {what}", flush=True)
                bad, n = bad + (not what.startswith("well")), n + 1
    print(f"{bad} of {n} are not well")


if __name__ == "__main__":
    main()
