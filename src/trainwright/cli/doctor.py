"""`trainwright doctor`: what is installed, what is missing, what to do."""

from __future__ import annotations

import sys

import click


@click.command("doctor", epilog="Example: trainwright doctor --json")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(as_json: bool) -> None:
    """Say what is installed, what is missing, and what to do about it; ends with 1 if something is broken."""
    from trainwright.cli.output import print_json
    from trainwright.hardware.encode import to_plain
    from trainwright.probe.installed import findings

    found = findings()
    if as_json:
        print_json(to_plain(found))
    else:
        for finding in found:
            click.echo(f"{finding.verdict:<6}{finding.what:<15}{finding.found}")
            if finding.advice:
                click.echo(f"{'':<21}-> {finding.advice}")
    if any(finding.verdict == "wrong" for finding in found):
        sys.exit(1)
