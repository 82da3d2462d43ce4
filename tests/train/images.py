"""Tiny plans of image jobs on scikit-learn's digits."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tests.train.plans import tiny_plan

from trainwright.api.images import model_config, settled
from trainwright.jobs.augment import parse_chain
from trainwright.jobs.job import ImageData, Job, ModelChoice, OptimizerSettings, Stopping
from trainwright.jobs.strategy import Strategy

DIGITS = ImageData(builtin="digits", size=8, channels=1, per_class=16)


def image_job(**changes: Any) -> Job:
    job = Job(
        name="digits",
        model=ModelChoice(preset="small-cnn"),
        images=DIGITS,
        augment=parse_chain(["shift 0.1", "mixup 0.2"]),
        global_batch=16,
        seq=1,
        stopping=Stopping(steps=6),
        optimizer=OptimizerSettings(learning_rate=3e-3),
        objective="classify",
        evaluate_every=3,
        checkpoint_every=2,
    )
    return settled(dataclasses.replace(job, **changes))


def image_plan(folder: Path, strategy: Strategy | None = None, **changes: Any) -> Path:
    job = image_job(**changes)
    strategy = strategy or Strategy(micro_batch=8, precision="fp32")
    return tiny_plan(folder, job=job, strategy=strategy, model=model_config(job))
