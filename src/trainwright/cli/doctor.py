"""`trainwright doctor`: what is installed, what is missing, what to do."""

from __future__ import annotations

import click


@click.command("doctor")
def command() -> None:
    """Say what is installed, what is missing, and what to do about it."""
    click.echo("trainwright is installed")
