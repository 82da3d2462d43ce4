"""The plan for one machine: every way of cutting it into processes, with what the runtime can carry out on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from trainwright.cost.memory_rules import memory_rules, resident_bytes
from trainwright.cost.stack import stack
from trainwright.hardware.machine import MachineProfile
from trainwright.jobs.job import Job
from trainwright.jobs.model import config_of_job, spec_of_job
from trainwright.jobs.store import job_to_dict
from trainwright.plan.aim import Aim
from trainwright.plan.costed import Task
from trainwright.plan.explain import explain
from trainwright.plan.facts import gather_facts
from trainwright.plan.known import Known
from trainwright.plan.pins import Pin, parse_pin
from trainwright.plan.record import plan_record
from trainwright.plan.search import SearchResult, search
from trainwright.records.plan import PlanRecord
from trainwright.units import format_count, format_seconds

STACK = "trainwright"
CARRIED_OUT = ("zero_stage=0", "!pp", "!cp", "!ep", "!sp", "offload=none", "recompute=none|full", "precision=fp32|bf16")
"""Where a plan is looked for on one machine unless the user pins the axis: divided states, pipelines and the like are
carried out too, but win nothing on one machine's CPU."""


def plan_here(job: Job, machine: MachineProfile, pins: Sequence[Pin] = (), known: Known | None = None) -> PlanRecord:
    """The fastest plan for the job on this machine, as the record a run carries out.

    Raises DoesNotFitError when nothing fits its memory, InvalidInputError when no strategy is legal.
    """
    known = known or Known(spec=spec_of_job(job), config=config_of_job(job))
    workload = replace(job.workload, sample_s=known.sample_s)
    task = Task(model=known.spec, workload=workload, stack=stack(STACK))
    aim = Aim(n_steps=n_steps(job))
    found = search(known.spec, workload, machine.divisions, task.stack, aim, carried_out(job, pins))
    record = plan_record(found, job_to_dict(job), known.config, STACK, why(found, task))
    resident = resident_bytes(record.chosen.peak_bytes, machine.resident_bytes, memory_rules(STACK))
    return replace(record, chosen=replace(record.chosen, resident_bytes=float(resident)))


def carried_out(job: Job, pins: Iterable[Pin]) -> tuple[Pin, ...]:
    """The user's pins, what the job allows, and on every other axis what the runtime can do here."""
    given, own = tuple(pins), _allowed(job)
    settled = {pin.axis for pin in given} - {"offload"} | {pin.axis for pin in own}
    return (*given, *own, *(pin for text in CARRIED_OUT if (pin := parse_pin(text)).axis not in settled))


def _allowed(job: Job) -> tuple[Pin, ...]:
    """The job's precision; whole layers where replicas step apart, with updates beside layers, and for users' code."""
    texts = [] if job.precision is None else [f"precision={job.precision}"]
    has_updates = job.transfer is not None and job.transfer.lora_rank is not None
    if job.sync.mode != "all_reduce" or has_updates or job.example or job.model.function is not None:
        texts.append("!tp")
    if job.images is not None or job.example:
        texts.append("recompute=none")
    return tuple(parse_pin(text) for text in texts)


def n_steps(job: Job) -> float | None:
    """Optimizer steps of the whole job; None where it stops when it stops improving."""
    if job.stopping.steps is not None:
        return float(job.stopping.steps)
    return None if job.stopping.tokens is None else job.stopping.tokens / (job.global_batch * job.seq)


def why(found: SearchResult, task: Task) -> tuple[str, ...]:
    """Sentences for people: how many were looked at, and why the best is the best, as ``trainwright plan`` tells it."""
    looked_at = f"{format_count(found.n_costed)} ways to split the job were priced in {format_seconds(found.seconds)}"
    if found.best is None:
        return (looked_at,)
    facts = gather_facts(task.model, task.workload, found.best.cluster)
    return looked_at, *explain(found, task, facts).sentences
