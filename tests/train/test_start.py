"""A text job that goes on from a Hugging Face folder begins with exactly its weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.train.plans import tiny_job, tiny_plan

from trainwright.errors import InvalidInputError
from trainwright.jobs.job import OptimizerSettings, Stopping, Transfer
from trainwright.jobs.model import config_of_job
from trainwright.jobs.parse import parse_job
from trainwright.train.run import run_plan


def test_a_run_goes_on_from_a_folder(tmp_path: Path) -> None:
    first = tmp_path / "first"
    run_plan(tiny_plan(first, job=tiny_job(stopping=Stopping(steps=2))))
    still = OptimizerSettings(learning_rate=0.0)
    job = tiny_job(stopping=Stopping(steps=1), optimizer=still, seed=7, transfer=Transfer(start=first))
    config = config_of_job(job)
    assert config == json.loads((first / "model" / "config.json").read_text())
    record = run_plan(tiny_plan(tmp_path / "second", job=job, model=config))
    assert "weights read from" in record.notes[0]
    before, after = (load_file(folder / "model" / "model.safetensors") for folder in (first, tmp_path / "second"))
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_text_takes_only_the_start_of_transfer() -> None:
    text = """
[data]
builtin = "python-reference"
[training]
global_batch = 8
sequence = 16
steps = 2
[transfer]
start = "earlier"
"""
    job = parse_job(text, "job.toml")
    assert job.transfer is not None
    with pytest.raises(InvalidInputError, match=r"transfer\.freeze is for images"):
        parse_job(f"{text}freeze = 1\n", "job.toml")


def test_a_quantized_start_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "quantization_config": {}}')
    with pytest.raises(InvalidInputError, match=r"are quantized"):
        config_of_job(tiny_job(transfer=Transfer(start=tmp_path)))
