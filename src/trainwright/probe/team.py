"""The measuring processes of all divisions: imported together, then each division in its turn."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from trainwright import env
from trainwright.errors import TrainwrightError
from trainwright.hardware.encode import from_plain, to_plain
from trainwright.probe.samples import Orders, Samples

_WORKER = "import gc, sys; gc.disable(); from trainwright.probe.worker import main; main(*sys.argv[1:])"
"""Garbage is not looked for until all is imported (allocator.py, collect_again)."""
LONGEST_S = 600.0
"""After this a process is taken to hang."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A measuring process and its files."""

    orders: Orders
    process: subprocess.Popen[bytes]

    def path(self, what: str) -> Path:
        """One of its files."""
        return _path(what, self.orders)


@contextmanager
def started(teams: Sequence[Sequence[Orders]]) -> Iterator[list[list[Member]]]:
    """Every process of every division, importing at once and then waiting for its turn; none outlives the block."""
    running: list[list[Member]] = [[] for _ in teams]
    try:
        for members, orders in zip(running, teams, strict=True):
            members += [Member(orders=each, process=_start(each)) for each in orders]
        everybody = [member for members in running for member in members]
        deadline = time.monotonic() + LONGEST_S
        while not all(member.path("ready").exists() or member.process.poll() is not None for member in everybody):
            if time.monotonic() > deadline:
                raise _too_slow(everybody)
            time.sleep(0.02)
        yield running
    finally:
        for member in (member for members in running for member in members):
            member.process.kill()
            member.process.communicate()


def measured(team: Sequence[Member]) -> list[Samples]:
    """Let a division measure, wait for all its processes, read their answers."""
    for member in team:
        if member.process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended already: its log says why
                member.process.stdin.write(b"go\n")
                member.process.stdin.flush()
    deadline = time.monotonic() + LONGEST_S
    for member in team:
        try:
            code = member.process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise _too_slow(team) from None
        if code != 0:
            log = member.path("log").read_text(errors="replace").strip()
            raise TrainwrightError(
                f"measuring with {len(team)} processes failed: {log[-800:] or 'no output'}",
                hint="`trainwright doctor` says what is installed; please report this",
            )
    answers = (member.path("answer").read_text(encoding="utf-8") for member in team)
    return [from_plain(Samples, json.loads(text)) for text in answers]


def _too_slow(team: Sequence[Member]) -> TrainwrightError:
    return TrainwrightError(
        f"measuring with {len(team)} processes did not end in {LONGEST_S:.0f} s",
        hint="the machine may be busy or swapping: try again, or `trainwright probe --quick`",
    )


def _start(orders: Orders) -> subprocess.Popen[bytes]:
    _path("orders", orders).write_text(json.dumps(to_plain(orders)), encoding="utf-8")
    files = [str(_path(what, orders)) for what in ("orders", "answer", "ready")]
    with _path("log", orders).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", _WORKER, *files],
            env=env.worker_environment(orders.n_threads),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )


def _path(what: str, orders: Orders) -> Path:
    return Path(orders.folder) / f"{what}-{orders.n_ranks}-{orders.rank}"
