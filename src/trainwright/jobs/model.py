"""The model a job names: as the cost model prices it, and as the runtime builds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError
from trainwright.jobs.job import Job
from trainwright.models.build import build
from trainwright.models.catalogue import preset_shape, shape_of
from trainwright.models.file import load_model
from trainwright.models.huggingface import huggingface_config, read_config, shape_from_config
from trainwright.models.shape import Shape
from trainwright.models.spec import ModelSpec

BYTES_VOCABULARY = 256


def spec_of_job(job: Job) -> ModelSpec:
    """What the cost model prices; ``preset`` may be a file that `trainwright capture` wrote."""
    file = captured_file(job)
    return build(shape_of_job(job)) if file is None else load_model(file)


def config_of_job(job: Job) -> dict[str, Any]:
    """What the runtime builds: a Hugging Face configuration with its ``model_type``, or a captured function."""
    file = captured_file(job)
    if file is not None:
        return {"function": load_model(file).source.removeprefix("captured from ")}
    if start := start_folder(job):
        return _whole_config(start)
    return huggingface_config(shape_of_job(job))


def captured_file(job: Job) -> Path | None:
    """The captured model that the job names, if it names one."""
    preset = job.model.preset
    return Path(preset) if preset is not None and preset.endswith(".json") else None


def _whole_config(start: Path) -> dict[str, Any]:
    """The folder's own configuration, of which a shape keeps only what is priced."""
    config = dict(read_config(start))
    if "quantization_config" in config:
        raise InvalidInputError(f"the weights in {start} are quantized", hint="start from the folder of whole weights")
    return config


def start_folder(job: Job) -> Path | None:
    """The Hugging Face folder that a text job goes on from, if it names one; that of a run of ours is its ``model``."""
    if job.transfer is None or job.images is not None:
        return None
    inside = job.transfer.start / "model"
    return inside if inside.is_dir() else job.transfer.start


def shape_of_job(job: Job) -> Shape:
    """The shape of the job's model, by preset, Hugging Face folder or the numbers of its [model] table.

    Raises InvalidInputError for code, which planning does not run.
    """
    choice = job.model
    if start := start_folder(job):
        return shape_from_config(start)
    if choice.preset is not None:
        return preset_shape(choice.preset)
    if choice.huggingface is not None:
        return shape_from_config(choice.huggingface)
    if choice.shape is not None:
        return shape_of(_shape_table(job, choice.shape))
    raise InvalidInputError(
        f"model.function = {choice.function!r} is code, which planning does not run",
        hint="capture it first with `trainwright capture`, or give the model's shape",
    )


def _shape_table(job: Job, given: dict[str, Any]) -> dict[str, Any]:
    """What the [model] table leaves out: a gated MLP of 8/3 the width, the head tied to the embedding."""
    usual = {"ffn": 8 * round(given["hidden"] / 3), "tied": True, "max_seq": job.seq, "vocabulary": vocabulary(job)}
    return {"name": job.name, **usual, **given}


def vocabulary(job: Job) -> int:
    """How many token numbers the job's own tokenizer has."""
    return BYTES_VOCABULARY if job.data.tokenizer == "bytes" else job.data.vocabulary
