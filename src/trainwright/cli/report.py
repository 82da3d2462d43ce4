"""`trainwright report RUN`: measured beside predicted."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report", epilog="Example: trainwright report runs/python-reference")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the page here (default: RUN/report.html).")
def command(run: Path, as_json: bool, html: Path | None) -> None:
    """Lay measured beside predicted for the run in folder RUN, and draw its page again."""
    from trainwright import api
    from trainwright.cli.output import print_json, print_rich, say
    from trainwright.report.run_json import run_json
    from trainwright.report.run_text import run_text

    plan, result, page = api.report(run, html)
    if as_json:
        print_json(run_json(plan, result))
        return
    print_rich(run_text(plan, result))
    say(f"page: {page}")
