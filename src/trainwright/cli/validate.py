"""`trainwright validate`: how wrong predictions are, on published measurements."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("validate", epilog="Example: trainwright validate --data measurements.csv.gz --way blind --by device")
@click.option("--data", multiple=True, type=click.Path(path_type=Path), metavar="FILE", help="A CSV file, or several.")
@click.option(
    "--by", type=click.Choice(["source", "device", "strategy"]), default="source", help="How rows are grouped."
)
@click.option(
    "--way",
    type=click.Choice(["shipped", "blind", "calibrated"]),
    default="shipped",
    help="Constants as shipped, from other sources only, or also from the source's other rows.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def command(data: tuple[Path, ...], by: str, way: str, as_json: bool) -> None:
    """Lay predictions beside published measurements: errors, ranking, regret, how often the interval holds.

    Without --data, on the curated points that ship with Trainwright.
    """
    from trainwright.api import estimating
    from trainwright.cli.output import print_json, print_rich
    from trainwright.report.validation import validation_json, validation_text

    found = estimating.validate(data, way, by)
    if as_json:
        print_json(validation_json(found))
        return
    print_rich(validation_text(found))
