"""How commands speak: data to stdout, talk to stderr, JSON without decoration."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import click


def print_json(value: Any) -> None:
    """One JSON document on stdout; what is not finite is null, since JSON knows no infinity."""
    click.echo(json.dumps(_finite(value), indent=2, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_rich(renderable: Any) -> None:
    """A table or text on stdout, 100 columns at most off a terminal, without colour codes there."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 100
    Console(width=width, soft_wrap=False, highlight=False).print(renderable)


def say(text: str) -> None:
    """A line of talk on stderr."""
    click.echo(text, err=True)
