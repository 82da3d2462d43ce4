"""Write the files that run a plan elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainwright.files import write_text
from trainwright.records.plan import read_plan


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployOptions:
    """How many nodes, which image, how long, and SkyPilot's name for the device (None on CPUs)."""

    n_nodes: int = 1
    image: str = "trainwright:latest"
    hours: int = 24
    accelerator: str | None = None


def deploy(folder: Path, output: Path, options: DeployOptions) -> tuple[Path, ...]:
    """Write the files that run the plan of ``folder`` elsewhere; returns their paths. Starts nothing."""
    from trainwright.deploy.docker import docker_files
    from trainwright.deploy.kubernetes import kubernetes_files
    from trainwright.deploy.sky import sky_files
    from trainwright.deploy.slurm import slurm_files
    from trainwright.deploy.target import target

    where = target(read_plan(folder), str(folder.absolute()), options.n_nodes, options.image, options.hours)
    files = docker_files(where) | slurm_files(where) | kubernetes_files(where) | sky_files(where, options.accelerator)
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_text(output / name, text)
    return tuple(output / name for name in files)
