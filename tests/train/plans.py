"""Tiny plans for tests: a Llama of toy size on bytes of the built-in text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from trainwright.jobs.job import Job, ModelChoice, OptimizerSettings, RateSchedule, Stopping, TextData
from trainwright.jobs.store import job_to_dict
from trainwright.jobs.strategy import Strategy
from trainwright.records.plan import Candidate, PlanRecord, write_plan

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
