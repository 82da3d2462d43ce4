"""`trainwright probe`: measure this machine, keep it under a name, show it."""

from __future__ import annotations

import click


@click.command("probe", epilog="Example: trainwright probe --quick --fresh --name desk")
@click.option("--quick", is_flag=True, help="Some 15 seconds instead of 30: no caches and no lessons.")
@click.option("--fresh", is_flag=True, help="Measure again even if this machine is known.")
@click.option("--name", help="Keep it under this name, usable wherever a cluster is named.")
@click.option("--forget", "drop_learned", is_flag=True, help="Drop what runs taught; keep what was measured.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
def command(quick: bool, fresh: bool, name: str | None, drop_learned: bool, as_json: bool) -> None:
    """Measure this machine: matmul, attention, memory, dispatch, links, for each way of cutting it into processes."""
    from trainwright.cli.output import print_json, print_rich, say
    from trainwright.hardware.encode import to_plain
    from trainwright.probe.machine import forget_learned, this_machine
    from trainwright.report.machine_text import machine_text

    profile = forget_learned() if drop_learned else this_machine(fresh=fresh, quick=quick, name=name, say=say)
    if as_json:
        print_json(to_plain(profile))
    else:
        print_rich(machine_text(profile))
