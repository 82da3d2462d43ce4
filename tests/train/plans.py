"""Tiny plans for tests: a Llama of toy size on bytes of the built-in text."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainwright.hardware.catalogue import device, link
from trainwright.hardware.cluster import Cluster, NodeGroup
from trainwright.hardware.machine import MachineProfile
from trainwright.jobs.job import Job, ModelChoice, OptimizerSettings, RateSchedule, Stopping, TextData
from trainwright.jobs.store import job_to_dict
from trainwright.jobs.strategy import Strategy
from trainwright.plan.again import plan_again
from trainwright.records.plan import Candidate, PlanRecord, read_plan, write_plan

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 256,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}


def tiny_job(**changes: Any) -> Job:
    job = Job(
        name="tiny",
        model=ModelChoice(shape={}),
        data=TextData(builtin="python-reference", tokenizer="bytes"),
        global_batch=8,
        seq=16,
        stopping=Stopping(steps=6),
        optimizer=OptimizerSettings(learning_rate=1e-2),
        schedule=RateSchedule(),
        evaluate_every=3,
        checkpoint_every=2,
    )
    return dataclasses.replace(job, **changes)


SHAPE = {"layers": 2, "hidden": 32, "heads": 4, "kv_heads": 2, "ffn": 64, "tied": False, "max_seq": 64}
"""LLAMA as a job file says it, for plans that are made again."""


def two_cores() -> MachineProfile:
    """A machine for planning only: one or two processes, each as fast as some device of the catalogue."""
    cpu, wire = replace(device("A100-SXM-80GB"), kind="cpu", n_threads=1), link("PCIe-4-x16")

    def cut(n: int) -> Cluster:
        group = NodeGroup(device=cpu, n_nodes=1, devices_per_node=n, intra=wire, inter=wire)
        return Cluster(name=f"{n} processes", groups=(group,))

    about = {"name": "desk", "fingerprint": "abc", "description": "", "measured_at": "2026-11-21T00:00:00+00:00"}
    return MachineProfile(**about, memory_bytes=1e9, n_cores=2, divisions=(cut(1), cut(2)))


def replan(folder: Path, n_left: int) -> PlanRecord:
    """Plan again as the command line does, on that machine."""
    plan = plan_again(read_plan(folder), n_left, two_cores())
    write_plan(folder, plan)
    return plan


def tiny_plan(
    folder: Path, *, job: Job | None = None, strategy: Strategy | None = None, model: dict[str, Any] | None = None
) -> Path:
    """Write a plan into the folder and return the folder."""
    job = job or tiny_job()
    strategy = strategy or Strategy(micro_batch=4, precision="fp32")
    chosen = Candidate(
        label="tiny",
        strategy=dataclasses.asdict(strategy),
        n_processes=int(strategy.n_devices),
        threads_per_process=1,
        step_s=0.0,
        step_low_s=0.0,
        step_high_s=0.0,
        peak_bytes=0.0,
        tokens_per_s=0.0,
        time={},
        memory={},
    )
    folder.mkdir(parents=True, exist_ok=True)
    plan = PlanRecord(
        job=job_to_dict(job), model=model or LLAMA, cluster={}, device_type="cpu", stack="trainwright", chosen=chosen
    )
    write_plan(folder, plan)
    return folder
