"""`trainwright rates JOB`: learning rate and batch by short trainings."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("rates", epilog="Example: trainwright rates job.toml --html rates.html")
@click.argument("job", type=click.Path(path_type=Path))
@click.option("--steps", default=100, show_default=True, type=click.IntRange(10), help="Steps of the range test.")
@click.option(
    "--highest", default=1.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Largest rate."
)
@click.option("--html", type=click.Path(path_type=Path), help="Draw the curves on this page.")
@click.option("--json", "as_json", is_flag=True, help="Print rates, losses and advice as JSON.")
def command(job: Path, steps: int, highest: float, html: Path | None, as_json: bool) -> None:
    """Find a learning rate and a batch for JOB: a range test, rates from large to small, the gradient's noise, memory.

    Trains for a few seconds at a time from the job's first weights; nothing of it is kept.
    """
    from trainwright import api
    from trainwright.cli.output import print_json, print_rich, say
    from trainwright.report.trials import trials_json, trials_text

    found = api.rates(job, steps, highest, html, say)
    if as_json:
        print_json(trials_json(found))
        return
    print_rich(trials_text(found))
