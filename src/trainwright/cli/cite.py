"""`trainwright cite`: the papers behind every part of a prediction."""

from __future__ import annotations

import click


@click.command("cite", epilog="Example: trainwright cite --json")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(as_json: bool) -> None:
    """List where the formula of every part of a prediction comes from, and each software stack's constants."""
    from trainwright.api import estimating
    from trainwright.cli.output import print_json

    cited = estimating.cite()
    if as_json:
        print_json(cited)
        return
    for title, sources in cited.items():
        click.echo(f"{title}")
        for name, source in sources.items():
            click.echo(f"  {name.replace('_', ' ')}: {source}")
