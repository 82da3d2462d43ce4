"""What planning needs to know of an image job: its sizes, its classes, its steps, and the captured model."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainwright.errors import InvalidInputError
from trainwright.jobs.inputs import Input
from trainwright.jobs.job import Job
from trainwright.models.images import config_in, for_classes, image_model
from trainwright.plan.known import Known

if TYPE_CHECKING:
    from trainwright.capture.standin import Kernels
    from trainwright.data.start import Start
    from trainwright.records.plan import PlanRecord

DEFAULT_SIZE, DEFAULT_CHANNELS = 32, 3
BUILTIN = {"digits": (8, 1)}
"""Side and channels of the images that come with us."""


def settled(job: Job) -> Job:
    """The job with what it left open about its images: side and channels, and epochs as steps.

    A side or channels that the job does not say are the starting model's, those of the built-in images, or 32 and 3.
    """
    assert job.images is not None
    start = _start(job)
    side, channels = BUILTIN.get(job.images.builtin or "", (DEFAULT_SIZE, DEFAULT_CHANNELS))
    images = replace(
        job.images,
        size=job.images.size or (start.size if start is not None else None) or side,
        channels=job.images.channels or (start.channels if start is not None else None) or channels,
    )
    job = replace(job, images=images)
    if job.stopping.epochs is not None and job.stopping.steps is None:
        from trainwright.data.images import split
        from trainwright.data.listing import list_images

        n_images = len(split(list_images(images), images, job.seed)[0])
        steps = max(math.ceil(job.stopping.epochs * n_images / job.global_batch), 1)
        job = replace(job, stopping=replace(job.stopping, steps=steps))
    return job


def checked(job: Job) -> Job:
    """The settled job; refused is what the files' names, the model and the start tell before anything costs time."""
    from trainwright.data.images import split
    from trainwright.data.listing import list_images
    from trainwright.train.transfer import check_start

    job = settled(job)
    assert job.images is not None
    listing = list_images(job.images)
    split(listing, job.images, job.seed)
    config = model_config(job)
    if job.transfer is not None:
        check_start(config, listing.classes, job.transfer)
    return job


def known_model(job: Job, kernels: Kernels = "cpu") -> Known:
    """The model as the cost model prices it, captured with what is frozen, and what making its samples takes."""
    from trainwright.capture.module import Setup, captured
    from trainwright.runtime.model import build_model
    from trainwright.train.capturing import priced
    from trainwright.train.sampling import sample_seconds

    config = model_config(job)
    found = captured(
        lambda: priced(build_model(config, job.seed), job.transfer, n_steps=job.stopping.steps),
        Setup(inputs=_inputs(job), batch=max(job.global_batch // 2, 2), unit="images", kernels=kernels),
        job.name,
    )
    return Known(spec=found.spec, config=config, sample_s=sample_seconds(job))


def with_traced_peak(job: Job, plan: PlanRecord) -> PlanRecord:
    """The plan with the peak memory of its own micro-batch's step, traced: exact where the cost model sums blocks.

    For fp32 and bf16 on CPUs. The cost model sums gradients and activations where micro-batches add up, and knows
    nothing of a kernel's own copies in 16 bits; the trace does.
    """
    chosen = plan.chosen
    precision = chosen.strategy["precision"]
    if plan.device_type != "cpu" or precision not in ("fp32", "bf16"):
        return plan
    rows, micro = job.global_batch // int(chosen.strategy["dp"]), int(chosen.strategy["micro_batch"])
    peak = traced_peak_bytes(job, plan.model, (rows, micro), precision)
    kept = {name: value for name, value in chosen.memory.items() if name not in ("activations", "temporary")}
    activations = min(chosen.memory["activations"], peak - sum(kept.values()))
    memory = {**kept, "activations": activations, "temporary": peak - sum(kept.values()) - activations}
    resident = None if chosen.resident_bytes is None else chosen.resident_bytes + peak - chosen.peak_bytes
    return replace(plan, chosen=replace(chosen, peak_bytes=peak, memory=memory, resident_bytes=resident))


def traced_peak_bytes(job: Job, config: dict[str, Any], sizes: tuple[int, int], precision: str) -> float:
    """Bytes at the highest point of a step of ``sizes``: (rows of a replica, rows of its micro-batch)."""
    from trainwright.capture.inputs import example_of
    from trainwright.capture.meta import built_on_meta
    from trainwright.capture.step import trace_step
    from trainwright.runtime.model import build_model
    from trainwright.train.capturing import priced
    from trainwright.train.optimizer import make_optimizer

    module = built_on_meta(lambda: priced(build_model(config, job.seed), job.transfer, precision, job.stopping.steps))
    settings = replace(job.optimizer, name="sgd" if job.optimizer.name == "sgd" else "adamw")
    traced = trace_step(
        module,
        example_of(_inputs(job), sizes[1], 1),
        optimizer=lambda parameters: make_optimizer(parameters, settings),
        kernels="cpu",
        accumulates=sizes[0] > sizes[1],
    )
    waiting = example_of(_inputs(job), sizes[0] - sizes[1], 1).values()
    return float(traced.peak_bytes + sum(tensor.numel() * tensor.element_size() for tensor in waiting))


def _inputs(job: Job) -> tuple[Input, ...]:
    assert job.images is not None
    side = str(job.images.size)
    dims = ("batch", str(job.images.channels), side, side)
    return Input(dims=dims), Input(dims=("batch",), dtype="int64")


def model_config(job: Job) -> dict[str, Any]:
    """The configuration of the job's classifier, with a head for its classes."""
    from trainwright.data.listing import list_images

    assert job.images is not None
    assert job.images.size is not None
    assert job.images.channels is not None
    choice, start = job.model, _start(job)
    if choice.preset is not None:
        config = image_model(choice.preset)
    elif choice.huggingface is not None:
        config = config_in(choice.huggingface)
    elif choice.function is not None:
        config = {"function": choice.function}
    elif start is not None:
        config = start.config
    else:
        raise InvalidInputError(
            "a shape in [model] is a language model, and [data] names images",
            hint='use preset = "small-cnn", a Hugging Face config, or a function',
        )
    return for_classes(config, list_images(job.images).classes, job.images.channels, job.images.size)


def _start(job: Job) -> Start | None:
    from trainwright.data.start import read_start

    return read_start(job.transfer.start) if job.transfer is not None else None
