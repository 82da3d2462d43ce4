"""Workers forked from the tests' own process instead of started anew: torch and transformers are imported once.

Everything else of the launcher is as it is: pipe, signals, exit codes, log, the end of a worker whose launcher is gone.
Workers started as users' are: tests/runtime/test_launch.py, tests/train/test_promises.py, tests/cli/test_train.py, and
all that torchrun starts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from tests.train.plans import tiny_plan

from trainwright.runtime import launch, worker
from trainwright.train.run import run_plan


class Forked:
    """What the launcher uses of subprocess.Popen."""

    def __init__(self, command: list[str], *, pass_fds: list[int], stdout: Any, env: dict[str, str], **_rest: Any):
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _become(int(command[-1]), stdout.fileno(), env)

    def poll(self) -> int | None:
        if self.returncode is None:
            self._reap(os.WNOHANG)
        return self.returncode

    def wait(self) -> int:
        while self.returncode is None:
            self._reap(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reap(self, options: int) -> None:
        pid, status = os.waitpid(self.pid, options)
        if pid:
            self.returncode = os.waitstatus_to_exitcode(status)


def _become(descriptor: int, log: int, environment: dict[str, str]) -> None:
    """In the child: the worker of this pipe, with no other file of its parent, which must not seem alive by them."""
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, 65536)
    os.environ.update(environment)
    warnings.resetwarnings()
    code = 1
    try:
        code = worker.main(descriptor)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All that training imports, imported here before anything is forked."""
    run_plan(tiny_plan(tmp_path_factory.mktemp("warm")))


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch, warm: None) -> None:
    """The launcher forks in this test."""
    monkeypatch.setattr(launch, "subprocess", SimpleNamespace(Popen=Forked, DEVNULL=subprocess.DEVNULL))
