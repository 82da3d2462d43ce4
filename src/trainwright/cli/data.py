"""`trainwright data preview JOB`: what the model will see."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("data", epilog="Example: trainwright data preview job.toml --output grid.png")
def command() -> None:
    """Look at a job's data before training on it."""


@command.command("preview", epilog="Example: trainwright data preview job.toml --rows 6 --columns 8")
@click.argument("job", type=click.Path(path_type=Path))
@click.option("--rows", default=6, show_default=True, type=click.IntRange(1, 100), help="Images.")
@click.option("--columns", default=8, show_default=True, type=click.IntRange(1, 100), help="Augmented samples of each.")
@click.option("--output", default="preview.png", show_default=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print classes and counts as JSON.")
def preview(job: Path, rows: int, columns: int, output: Path, as_json: bool) -> None:
    """Draw ROWS images of JOB, each augmented as in COLUMNS different epochs (the first column is the image itself)."""
    from trainwright import api
    from trainwright.cli.output import print_json, say

    found = api.preview(job, output, rows, columns)
    if as_json:
        print_json(found)
        return
    for name, count in found["training_images"].items():
        click.echo(f"{count:8,d}  {name}")
    for note in found["notes"]:
        say(note)
    say(f"{rows} x {columns} images: {output}")
