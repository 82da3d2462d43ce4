"""Everything Trainwright raises, and the exit code each kind ends the process with.

    TrainwrightError            1   our fault, or unexpected
    ├── WorkerLostError         1   a process of the run was killed, left without a word, or hangs
    ├── InvalidInputError       2   usage, job file, unknown name, impossible strategy
    │   └── MissingExtraError   2   an optional package is not installed
    ├── DoesNotFitError         3   no strategy fits the memory, deadline or budget
    ├── DataError               4   data missing, empty, corrupt or too short
    ├── CheckpointError         5   no usable checkpoint
    ├── NumericsError           6   NaN, Inf or divergence
    ├── PreemptedError         75   stopped by SIGTERM, saved; run the same command again
    └── InterruptedRunError   130   stopped by Ctrl-C, saved; run the same command again

A message states the fact with its numbers; the hint names something that would work. Errors survive
pickling, since worker processes send theirs home.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class TrainwrightError(Exception):
    """The root. ``hint`` says what would work; ``exit_code`` is what the command line returns.

    ``told``: another process of the run tells the user, so that this one keeps silent.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.told = False

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint))

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


def _rebuild(kind: type[TrainwrightError], message: str, hint: str | None) -> TrainwrightError:
    return kind(message, hint=hint)


class WorkerLostError(TrainwrightError):
    """A process of the run was killed, left without a word, or hangs: none of the run's own errors."""


class InvalidInputError(TrainwrightError):
    """The user asked for something that cannot be: wrong key, value, unit, name or combination."""

    exit_code = 2


class MissingExtraError(InvalidInputError):
    """An optional package is needed and not installed."""


class DoesNotFitError(TrainwrightError):
    """Nothing in the space fits the memory, the deadline or the budget."""

    exit_code = 3


class DataError(TrainwrightError):
    """Data is missing, empty, corrupt or too short."""

    exit_code = 4


class CheckpointError(TrainwrightError):
    """No checkpoint in the run folder can be used."""

    exit_code = 5


class NumericsError(TrainwrightError):
    """The loss became NaN or infinite, or diverged."""

    exit_code = 6


class PreemptedError(TrainwrightError):
    """The run was asked to stop, saved itself, and continues when run again."""

    exit_code = 75


class InterruptedRunError(TrainwrightError):
    """The user pressed Ctrl-C; the run saved itself, and continues when run again."""

    exit_code = 130


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InvalidInputError:
    """The error for a name that is not in a table, with the nearest known ones as the hint.

    >>> print(unknown_name("optimizer", "adamv", ["adamw", "sgd"]))
    unknown optimizer 'adamv'
    hint: did you mean adamw? known: adamw, sgd
    """
    names = list(known)
    near = nearest(name, names)
    listed = ", ".join(names) if len(names) <= 12 else f"{len(names)} names{_LISTED.get(kind, '')}"
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    return InvalidInputError(f"unknown {kind} {name!r}", hint=f"{guess}known: {listed}")


_LISTED = {
    "command": " (`trainwright --help`)",
    "model": " (`trainwright models`); a folder with a config.json, or code as file.py:function, does too",
    "device": " (`trainwright hardware`)",
}


def nearest(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """The known names most like ``name``, best first; empty when none is near."""
    by_fold = {k.casefold(): k for k in known}
    return [by_fold[k] for k in difflib.get_close_matches(name.casefold(), by_fold, n=n, cutoff=0.5)]
