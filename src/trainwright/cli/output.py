"""How commands speak: data to stdout, talk to stderr, JSON without decoration."""

from __future__ import annotations

import json
import sys
from typing import Any

import click


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, default=str))


def print_rich(renderable: Any) -> None:
    """A table or text on stdout, 100 columns at most off a terminal, without colour codes there."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 100
    Console(width=width, soft_wrap=False, highlight=False).print(renderable)


def say(text: str) -> None:
    """A line of talk on stderr."""
    click.echo(text, err=True)
