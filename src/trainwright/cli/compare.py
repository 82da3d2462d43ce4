"""`trainwright compare JOB...`: variants over seeds."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("compare", epilog="Example: trainwright compare scratch.toml finetune.toml --seeds 5")
@click.argument("jobs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Runs of each job.")
@click.option("--first", default=0, show_default=True, type=click.IntRange(0), help="Seed of the first run.")
@click.option("--output", type=click.Path(path_type=Path), help="Where run folders go (default: the jobs').")
@click.option("--strategy", default="", metavar="PINS", help='Fix parts of the plans, as in "precision=fp32".')
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def command(jobs: tuple[Path, ...], seeds: int, first: int, output: Path | None, strategy: str, as_json: bool) -> None:
    """Plan and run each JOB with several seeds; print quality with 95 % intervals, time and memory.

    Runs that are finished already are read, not run again.
    """
    from dataclasses import asdict

    from trainwright import api
    from trainwright.cli.output import print_json, print_rich, say
    from trainwright.report.variants_text import variants_text

    lines = api.compare(jobs, range(first, first + seeds), api.PrepareOptions(output=output, pins=strategy), say)
    if as_json:
        print_json([asdict(line) for line in lines])
        return
    print_rich(variants_text(lines))
