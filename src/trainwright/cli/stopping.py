"""SIGTERM at any moment of a command: an orderly end with a code of its own, also before there is anything to save.

SIGUSR1 is the same: Slurm sends what `--signal` names.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from trainwright.env import launched
from trainwright.errors import PreemptedError

STOPPING = (signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def stoppable(exit_code: int) -> Iterator[None]:
    """Inside the block these raise PreemptedError (a run takes the signals over while it trains, to save first).

    Another ``exit_code`` than its own is for schedulers that take anything but that for a failure.
    """

    def stop(number: int, _frame: object) -> None:
        name = signal.Signals(number).name
        error = PreemptedError(
            f"stopped by {name} while it was not training; nothing is lost", hint="run the same command again to go on"
        )
        place = launched()
        error.told = place is not None and place.rank > 0  # a launcher sends it to all
        raise error

    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, stop) for number in STOPPING} if in_main else {}
    try:
        yield
    except PreemptedError as error:
        if exit_code == error.exit_code:
            raise
        if not error.told:
            click.echo(str(error), err=True)
        sys.exit(exit_code)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
