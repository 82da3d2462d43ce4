"""Plan a run again for the processes that are left of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from trainwright.errors import DoesNotFitError, InvalidInputError
from trainwright.hardware.cluster import Cluster
from trainwright.hardware.machine import MachineProfile
from trainwright.jobs.store import job_from_dict
from trainwright.plan.here import plan_here
from trainwright.plan.known import Known
from trainwright.plan.market import read_clusters
from trainwright.plan.pins import parse_pin
from trainwright.records.plan import PlanRecord

PER_NODE = 8
"""Accelerators in one node of what is left of a cluster, where there are more than that."""


def plan_again(plan: PlanRecord, n_left: int, machine: MachineProfile, known: Known | None = None) -> PlanRecord:
    """The fastest plan of the same job and precision for as many of ``n_left`` processes as can be used.

    ``machine`` is what CPU plans are priced on. Raises DoesNotFitError when no number of them can go on.
    """
    job = job_from_dict(plan.job)
    same = parse_pin(f"precision={plan.chosen.strategy['precision']}")
    refusal = ""
    for cluster in _clusters(plan, n_left, machine):
        try:
            return plan_here(job, replace(machine, divisions=(cluster,)), [same], known)
        except (DoesNotFitError, InvalidInputError) as error:
            refusal = refusal or error.message
    raise DoesNotFitError(
        f"the {n_left} processes left of {plan.chosen.n_processes} cannot go on: {refusal}",
        hint="start as many as were planned, or plan the job for other hardware; the newest checkpoint fits any plan",
    )


def _clusters(plan: PlanRecord, n_left: int, machine: MachineProfile) -> Iterator[Cluster]:
    """What is left, the largest part first."""
    for n in range(n_left, 0, -1):
        if plan.device_type == "cpu":
            yield division_of(machine, n)
        elif n <= PER_NODE:
            yield read_clusters([f"{n}x{plan.cluster['device']}"], None)[0]
        elif n % PER_NODE == 0:
            yield read_clusters([f"{n // PER_NODE} x {PER_NODE}x{plan.cluster['device']}"], None)[0]


def division_of(machine: MachineProfile, n_processes: int) -> Cluster:
    """The machine cut into so many processes: as measured, or like the measured division nearest to it."""
    nearest = min(machine.divisions, key=lambda cluster: abs(cluster.n_devices - n_processes))
    if nearest.n_devices == n_processes:
        return nearest
    group = replace(nearest.groups[0], devices_per_node=n_processes)
    return replace(nearest, name=f"{n_processes} processes", groups=(group,))
