"""A run's progress on stderr: one moving line on a terminal, plain lines elsewhere; notes above it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

import click

from trainwright.records.run import Evaluation
from trainwright.records.step import StepRecord
from trainwright.units import format_bytes, format_seconds

PLAIN_EVERY_S = 10.0
"""Seconds between lines where there is no terminal."""


class TrainingProgress:
    """Shows StepRecords, Evaluations and notes as they come; use it as a context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[figures]}"))
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal, transient=True)
        self._task: Any = None
        self._n_steps: int | None = None
        self._unit = "tokens"
        self._ideal_s: float | None = None
        self._recent: list[StepRecord] = []
        self._last_line = 0.0

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def expect(self, n_steps: int | None, unit: str = "tokens", ideal_s: float | None = None) -> None:
        """How many steps the job takes, where that is known, of what, and how long one would take at the peak."""
        self._n_steps, self._unit, self._ideal_s = n_steps, unit, ideal_s

    def __call__(self, event: StepRecord | Evaluation | str) -> None:
        """Show one event."""
        if isinstance(event, str):
            self.say(event)
        elif isinstance(event, Evaluation):
            from trainwright.report.run_text import quality

            self.say(f"step {event.step}: held-out loss {event.loss:.3f}, {quality(event)}")
        else:
            self._step(event)

    def say(self, text: str) -> None:
        """A line of talk."""
        if self._console.is_terminal:
            self._console.print(text, markup=False)
        else:
            click.echo(text, err=True)

    def _step(self, step: StepRecord) -> None:
        if not self._recent:
            self.say(f"first step done {format_seconds(_seconds_since_start())} after the command")
        self._recent = [*self._recent[-19:], step]
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("training", total=self._n_steps, figures="")
        self._bar.update(self._task, completed=step.step + 1, figures=self._figures(step))
        if not self._console.is_terminal and time.monotonic() - self._last_line > PLAIN_EVERY_S:
            self._last_line = time.monotonic()
            click.echo(self._figures(step), err=True)

    def _figures(self, step: StepRecord) -> str:
        seconds = sum(s.seconds for s in self._recent) / len(self._recent)
        done = f"step {step.step + 1}" + (f"/{self._n_steps}" if self._n_steps else "")
        left = f", {format_seconds((self._n_steps - step.step - 1) * seconds)} left" if self._n_steps else ""
        mfu = f", MFU {100 * self._ideal_s / seconds:.0f} %" if self._ideal_s else ""
        memory = f", {format_bytes(step.memory_bytes)}" if step.memory_bytes else ""
        return f"{done}, loss {step.loss:.3f}, {step.tokens / seconds:,.0f} {self._unit}/s{mfu}{memory}{left}"


def _seconds_since_start() -> float:
    """How long this process is at work, its own start included."""
    import psutil

    return float(time.time() - psutil.Process().create_time())
