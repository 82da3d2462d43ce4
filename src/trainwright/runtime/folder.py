"""Workers mark the folder they are at work in, so that no run begins beside what a killed one left."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from trainwright.errors import InvalidInputError
from trainwright.records.lock import takes

STRAGGLERS_NAME = ".workers"
STRAGGLERS_S = 30.0
"""How long a run waits for workers of a killed launcher to end; they notice within milliseconds."""


def stay_in(folder: Path) -> int:
    """Mark a worker as at work in the folder until its process ends; the descriptor that holds the mark."""
    descriptor = os.open(folder / STRAGGLERS_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def await_stragglers(folder: Path) -> None:
    """Until no worker of an earlier run is at work in the folder: one whose launcher was killed may be writing."""
    descriptor = os.open(folder / STRAGGLERS_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + STRAGGLERS_S
    try:
        while not takes(descriptor):
            if time.monotonic() > deadline:
                raise InvalidInputError(
                    f"processes of an earlier run are still at work in {folder} after {STRAGGLERS_S:.0f} s",
                    hint="end them, then run the same command again",
                )
            time.sleep(0.02)
    finally:
        os.close(descriptor)
