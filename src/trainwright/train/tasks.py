"""The task of a job, over the data in its run folder; a model that starts from another is filled here."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from trainwright.data.images import Images, open_images
from trainwright.data.loader import find_workers
from trainwright.data.order import Order
from trainwright.data.start import Start, read_start
from trainwright.data.tokens import open_tokens
from trainwright.errors import InvalidInputError
from trainwright.jobs.job import Job
from trainwright.records.plan import PlanRecord
from trainwright.train.example import ExampleTask
from trainwright.train.images import ImageTask, Normalization
from trainwright.train.lora import adapt
from trainwright.train.task import Task
from trainwright.train.text import TextTask
from trainwright.train.transfer import take_start

FAR_OFF = 0.5
"""Data whose mean lies so many deviations from what the start was trained on deserves a warning."""


def open_task(folder: Path, job: Job, plan: PlanRecord, model: nn.Module) -> tuple[Task, list[str]]:
    """The job's task, and what the user should hear; weights are copied from ``transfer.start`` into the model."""
    if job.example:
        return ExampleTask(inputs=job.example, global_batch=job.global_batch, seq=job.seq, seed=job.seed), []
    if job.images is not None:
        return _image_task(folder, job, plan, model)
    tokens = open_tokens(folder / "data")
    vocabulary = plan.model.get("vocab_size")
    if vocabulary is not None and tokens.vocabulary > vocabulary:
        raise InvalidInputError(
            f"the tokenizer has {tokens.vocabulary} tokens and the model only {vocabulary}",
            hint=f"make data.vocabulary at most {vocabulary}, or choose the model's own tokenizer",
        )
    order = Order(n_tokens=len(tokens.train), seq=job.seq, global_batch=job.global_batch, seed=job.seed)
    return TextTask(tokens=tokens, order=order), []


def _image_task(folder: Path, job: Job, plan: PlanRecord, model: nn.Module) -> tuple[Task, list[str]]:
    assert job.images is not None
    images = open_images(folder / "data")
    notes = list(images.notes)
    start: Start | None = None
    if job.transfer is not None:
        start = read_start(job.transfer.start)
        notes += take_start(model, start, images.classes, job.transfer)
        if job.transfer.lora_rank is not None:
            notes += adapt(model, job.transfer.lora_rank, job.seed)
    normalization, said = normalization_of(images, start, job.images.statistics)
    task = ImageTask(
        images=images,
        normalization=normalization,
        global_batch=job.global_batch,
        seed=job.seed,
        chain=job.augment,
        balance=job.images.balance,
    )
    part = int(plan.chosen.strategy["dp"])
    finding = find_workers(lambda step: task.made(step, 0, part), plan.chosen.step_s or math.inf, _free_cores(plan))
    task = replace(task, n_workers=finding.n_workers)
    rates = ", ".join(f"{n}: {job.global_batch / part * rate:,.0f}" for n, rate in finding.batches_per_s.items())
    return task, [*notes, *said, f"data: {finding.n_workers} workers (images/s by workers: {rates})"]


def _free_cores(plan: PlanRecord) -> int:
    """Cores of this machine for each of the plan's processes that compute nothing."""
    n_cores, chosen = os.cpu_count() or 1, plan.chosen
    if plan.device_type == "cpu":
        return max(n_cores // chosen.n_processes - chosen.threads_per_process, 0)
    return max(n_cores // min(chosen.n_processes, torch.cuda.device_count() or 1) - 1, 1)


def normalization_of(images: Images, start: Start | None, statistics: str) -> tuple[Normalization, list[str]]:
    """The start's mean and deviation, or the training images'; a start unlike the data is said."""
    own = Normalization(mean=images.mean, deviation=images.deviation)
    if start is None or start.mean is None or start.deviation is None or statistics == "data":
        return own, []
    theirs = Normalization(mean=start.mean, deviation=start.deviation)
    if len(theirs.mean) != len(own.mean):
        raise InvalidInputError(
            f"{start.folder} normalizes {len(theirs.mean)} channels and the images have {len(own.mean)}",
            hint=f"set data.channels = {len(theirs.mean)}",
        )
    off = max(abs(a - b) / d for a, b, d in zip(own.mean, theirs.mean, theirs.deviation, strict=True))
    if off <= FAR_OFF:
        return theirs, []
    return theirs, [
        f"these images' mean lies {off:.1f} deviations from what the start was normalized with; "
        'data.statistics = "data" would use their own'
    ]
