"""`trainwright compete JOB`: folds, an ensemble, its mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("compete", epilog="Example: trainwright compete job.toml --folds 5 --test photos/ --views 8")
@click.argument("job", type=click.Path(path_type=Path))
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="Parts, each held out once.")
@click.option("--test", type=click.Path(path_type=Path), help="Images to classify: a folder, or a CSV of files.")
@click.option("--views", default=1, show_default=True, type=click.IntRange(1), help="Augmented views of each image.")
@click.option("--output", default="competition", show_default=True, type=click.Path(path_type=Path), help="A folder.")
@click.option("--json", "as_json", is_flag=True, help="Print figures and mistakes as JSON.")
def command(job: Path, as_json: bool, **options: Any) -> None:
    """Train JOB once for each fold; judge every image by the model that never saw it, test images by all together.

    Writes submission.csv (with --test), mistakes.html (confusion and the most wrong images) and relabel.csv.
    """
    from trainwright import api
    from trainwright.cli.output import print_json, print_rich, say
    from trainwright.report.competition import competition_json, competition_text

    found = api.compete(job, api.CompeteOptions(**options), say)
    if as_json:
        print_json(competition_json(found))
        return
    print_rich(competition_text(found))
