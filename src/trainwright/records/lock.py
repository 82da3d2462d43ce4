"""A run folder belongs to one process at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainwright.errors import InvalidInputError

LOCK_NAME = ".lock"
ORPHANS_S = 30.0
"""How long to wait for the children of a killed owner, who share its lock: a loader's notice within seconds."""


@contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when the process ends, however it ends.

    Raises InvalidInputError when the folder cannot be written, or when another run holds it.
    """
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InvalidInputError(
            f"cannot write in {folder}: {error.strerror}", hint="give another folder, as in `--output runs/again`"
        ) from error
    try:
        deadline = time.monotonic() + ORPHANS_S
        while not takes(descriptor):
            owner = _owner(folder)
            if _lives(owner) or time.monotonic() > deadline:
                raise InvalidInputError(
                    f"another run is at work in {folder} (process {owner or 'unknown'})",
                    hint="wait for it, or give another folder",
                )
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def is_free(folder: Path) -> bool:
    """Whether no living process holds the folder's lock."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        return takes(descriptor) or not _lives(_owner(folder))
    finally:
        os.close(descriptor)


def takes(descriptor: int) -> bool:
    """Whether the lock on an open file is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(folder: Path) -> int | None:
    """The process that wrote its number into the lock last; None when nobody did yet."""
    text = (folder / LOCK_NAME).read_text(encoding="utf-8")
    return int(text) if text.isdigit() else None


def _lives(process: int | None) -> bool:
    """Whether the process is there, or may be."""
    if process is None:
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
