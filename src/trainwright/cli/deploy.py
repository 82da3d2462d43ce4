"""`trainwright deploy RUN --train`: files that run a plan under Slurm, Kubernetes, SkyPilot and Docker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("deploy", epilog="Example: trainwright deploy runs/mine --train --nodes 4 --output deploy/")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--train", "for_training", is_flag=True, required=True, help="Files that train (serving follows).")
@click.option("--nodes", default=1, show_default=True, help="Nodes to spread the plan's processes over.")
@click.option("--image", default="trainwright:latest", show_default=True, help="The container image.")
@click.option("--hours", default=24, show_default=True, help="The longest the job may take.")
@click.option("--accelerator", help="SkyPilot's name for the device, such as H100.")
@click.option("--output", type=click.Path(path_type=Path), help="Where the files go (default: RUN/deploy).")
def command(run: Path, for_training: bool, nodes: int, output: Path | None, **options: Any) -> None:
    """Write what starts the plan in folder RUN on many machines. Nothing is started."""
    from trainwright import api
    from trainwright.cli.output import say

    for path in api.deploy(run, output or run / "deploy", api.DeployOptions(n_nodes=nodes, **options)):
        say(f"wrote {path}")
