"""Write tests/cli/flags.txt, the list of every command's options; a new one is then a visible change."""

from __future__ import annotations

from pathlib import Path

import click

from trainwright.cli.main import trainwright_group

LIST = Path("tests/cli/flags.txt")


def flags(command: click.Command, name: str) -> list[str]:
    """One line for each option and argument of the command and of those below it."""
    context = click.Context(command, info_name=name)
    if isinstance(command, click.Group):
        below = [(sub, command.get_command(context, sub)) for sub in command.list_commands(context)]
        return [line for sub, found in below if found for line in flags(found, f"{name} {sub}")]
    return [
        f"{name} {'/'.join(p.opts) if isinstance(p, click.Option) else p.human_readable_name}" for p in command.params
    ]


if __name__ == "__main__":
    LIST.write_text("\n".join(flags(trainwright_group, "trainwright")) + "\n", encoding="utf-8")
