"""The command line: each command parses, calls one library function, prints."""

from trainwright.cli.main import main

__all__ = ["main"]
