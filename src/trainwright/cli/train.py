"""`trainwright train [JOB]`: probe, plan, run, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("train", epilog="Examples: trainwright train | trainwright train job.toml | trainwright train runs/mine")
@click.argument("job", required=False, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Where run folders go (default: the job's, or runs).")
@click.option(
    "--strategy", "pins", default="", metavar="PINS", help='Fix parts of the plan, as in "dp=2,precision=fp32".'
)
@click.option("--fresh", is_flag=True, help="Measure this machine again before planning.")
@click.option(
    "--verify", is_flag=True, help="First try the plan on a tiny model of the same kind, against one process."
)
@click.option(
    "--preempted-exit",
    type=click.IntRange(0, 255),
    default=75,
    metavar="CODE",
    help="What a run stopped by SIGTERM exits with, once it is saved (default: 75; 0 looks like a finished run).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(job: Path | None, verify: bool, as_json: bool, preempted_exit: int, **options: Any) -> None:
    """Plan JOB for this machine, run exactly that plan, and lay measured beside predicted.

    JOB is a job file, a plan.json, or a run folder. Without one, a small language model learns the Python language
    reference in about a minute. A run that was stopped goes on when the same command is given again.
    """
    from trainwright import api
    from trainwright.cli.output import print_json, print_rich
    from trainwright.cli.progress import TrainingProgress
    from trainwright.cli.stopping import stoppable
    from trainwright.report.run_json import run_json
    from trainwright.report.run_text import run_text

    with stoppable(preempted_exit), TrainingProgress() as progress:
        folder = api.prepare(job, api.PrepareOptions(**options), progress)
        if verify:
            api.verify(folder, progress)
        progress.expect(*api.expected_steps(folder))
        api.run(folder, progress)
        plan, run, page = api.report(folder)
    if as_json:
        print_json(run_json(plan, run))
        return
    print_rich(run_text(plan, run))
    progress.say(f"page: {page}")
