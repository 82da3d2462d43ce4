"""SIGTERM at any moment of a command: an orderly end with a code of its own, also before there is anything to save."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from trainwright.errors import PreemptedError


@contextmanager
def stoppable(exit_code: int) -> Iterator[None]:
    """Inside the block SIGTERM raises PreemptedError (a run takes the signal over while it trains, to save first).

    Another ``exit_code`` than its own is for schedulers that take anything but that for a failure.
    """

    def stop(_number: int, _frame: object) -> None:
        raise PreemptedError(
            "stopped by SIGTERM while it was not training; nothing is lost", hint="run the same command again to go on"
        )

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if in_main else None
    try:
        yield
    except PreemptedError as error:
        if exit_code == error.exit_code:
            raise
        click.echo(str(error), err=True)
        sys.exit(exit_code)
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)
