"""Where a plan is to run: nodes, what each has, and how its processes are started."""

from __future__ import annotations

import re
from dataclasses import dataclass
from shlex import quote
from string import Template

from trainwright.errors import InvalidInputError
from trainwright.records.plan import PlanRecord

RENDEZVOUS_PORT = 29400


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Nodes that share ``folder``, the run folder with its plan.json, under the same path.

    ``image``: the container that holds Trainwright. ``hours``: the longest the job may take before the scheduler ends
    it; a run that is ended by SIGTERM saves itself and goes on when submitted again.
    """

    name: str
    folder: str
    n_nodes: int
    n_processes: int
    threads_per_process: int
    device_type: str
    image: str = "trainwright:latest"
    hours: int = 24

    @property
    def safe_name(self) -> str:
        """The job's name as Kubernetes takes it: lower-case letters, digits and dashes."""
        return re.sub("[^a-z0-9]+", "-", self.name.lower()).strip("-") or "job"

    @property
    def processes_per_node(self) -> int:
        """Processes that each node starts."""
        return self.n_processes // self.n_nodes

    @property
    def cpus_per_node(self) -> int:
        """Cores that the processes of one node use."""
        return self.processes_per_node * self.threads_per_process

    @property
    def gpus_per_node(self) -> int:
        """One for each process, or none on CPUs."""
        return self.processes_per_node if self.device_type == "cuda" else 0


def target(plan: PlanRecord, folder: str, n_nodes: int, image: str, hours: int) -> Target:
    """The target of a plan; its processes must divide over the nodes."""
    n_processes = plan.chosen.n_processes
    if n_nodes < 1 or n_processes % n_nodes:
        fitting = max(n for n in range(1, min(n_processes, max(n_nodes, 1)) + 1) if n_processes % n == 0)
        raise InvalidInputError(
            f"{n_processes} processes do not divide over {n_nodes} nodes", hint=f"use --nodes {fitting}"
        )
    return Target(
        name=str(plan.job["name"]),
        folder=folder,
        n_nodes=n_nodes,
        n_processes=n_processes,
        threads_per_process=plan.chosen.threads_per_process,
        device_type=plan.device_type,
        image=image,
        hours=hours,
    )


def torchrun(target: Target, host: str) -> str:
    """The command each node runs; ``host`` is the first node's address, as the shell or the scheduler names it.

    TORCH_DISABLE_SHARE_RDZV_TCP_STORE keeps a restarted gloo group from reading the dead attempt's addresses
    (pytorch issue 135712).
    """
    return (
        f"torchrun --nnodes {target.n_nodes} --nproc-per-node {target.processes_per_node} --rdzv-backend c10d "
        f"--rdzv-id {target.safe_name} --rdzv-endpoint {host}:{RENDEZVOUS_PORT} --max-restarts 3 "
        f"-m trainwright train {quote(target.folder)}"
    )


def filled(template: str, target: Target, host: str) -> str:
    """A template with the target's figures in it."""
    figures = {name: getattr(target, name) for name in Target.__dataclass_fields__}
    figures |= {
        "processes_per_node": target.processes_per_node,
        "cpus_per_node": target.cpus_per_node,
        "gpus_per_node": target.gpus_per_node,
        "workers": target.n_nodes - 1,
        "port": RENDEZVOUS_PORT,
        "command": torchrun(target, host),
        "safe_name": target.safe_name,
        "quoted_folder": quote(target.folder),
    }
    return Template(template).substitute(figures)
