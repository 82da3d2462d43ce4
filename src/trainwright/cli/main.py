"""The group of commands, loaded lazily, and the one edge where an error becomes an exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

import trainwright
from trainwright.errors import TrainwrightError, unknown_name

COMMANDS = {
    "capture": "Any torch module as blocks and ops, with FLOP and memory, without running it",
    "hardware": "Devices, links and prices: list, filter, compare, with rooflines",
    "probe": "This machine: matmul, attention, memory, links; measured, kept, shown",
    "models": "Models by name or config: parameters, FLOP, memory a token, ops",
    "estimate": "One prediction of a step with all its parts, and whether it fits",
    "plan": "Every way to split a job over a cluster, searched, priced and explained",
    "train": "Probe, plan, run and report; without a job, a small example",
    "compare": "Variants of a job over seeds: quality, time, memory",
    "compete": "A job in folds: an ensemble, a submission, its mistakes",
    "rates": "Learning rate and batch of a job, by short trainings",
    "data": "Look at a job's images as the model will see them",
    "report": "Measured beside predicted, as text, JSON or a page",
    "validate": "How wrong predictions are, on published measurements",
    "cite": "The papers behind every part of a prediction",
    "deploy": "Files that run a plan under Slurm, Kubernetes, SkyPilot and Docker",
    "doctor": "What is installed, what is missing, what to do",
}
"""Every command and its summary; the code is trainwright.cli.<name>, imported when it runs."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command runs or shows its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"trainwright.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; for a near miss the error names the nearest."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise unknown_name("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(trainwright.__version__, prog_name="trainwright")
def trainwright_group() -> None:
    """Plan a training job, run exactly that plan, check the prediction against what happened.

    With no arguments, `trainwright train` runs a small built-in example on this machine.
    """


def main(args: list[str] | None = None) -> Any:
    """Run the command line; returns nothing and exits with the code the error tree names."""
    with reported():
        trainwright_group.main(args=args, prog_name="trainwright", standalone_mode=False)


@contextmanager
def reported() -> Iterator[None]:
    """Errors from inside the block are told on stderr, unless another process tells them, and end this one."""
    try:
        yield
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except TrainwrightError as error:
        if not error.told:
            hint = f"\nhint: {error.hint}" if error.hint else ""
            click.echo(f"error: {error.message}{hint}", err=True)
        sys.exit(error.exit_code)
