"""Jobs that name code, from the file to the trained model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from trainwright import api
from trainwright.errors import InvalidInputError
from trainwright.records.step import read_steps

SAMPLES = Path(__file__).parents[1] / "capture" / "samples.py"


def job(folder: Path, function: str, example: str) -> str:
    path = folder / "job.toml"
    path.write_text(
        f'name = "mine"\n[model]\nfunction = "{SAMPLES}:{function}"\n[data]\nexample = ["{example}"]\n'
        "[training]\nglobal_batch = 4\nsteps = 3\n"
    )
    return str(path)


def quiet(_said: object) -> None:
    """No talk."""


def test_code_is_estimated_and_planned_for_hardware_elsewhere(tmp_path: Path) -> None:
    path = job(tmp_path, "build", "float32[batch,4]")
    found = api.estimate(path, api.EstimateOptions(on="A100-80GB"), quiet)
    assert found.subject.model.n_parameters == 4 * 8 + 8 + 8 * 3 + 3
    assert found.choice.step_s > 0
    best = api.plan(path, api.PlanOptions(on=("2xA100-80GB",)), quiet).best
    assert best.step_s > 0


def test_a_config_of_no_named_family_is_captured(tmp_path: Path) -> None:
    config = {
        "model_type": "convnext", "architectures": ["ConvNextForImageClassification"], "hidden_sizes": [8, 8, 8, 8],
        "depths": [1, 1, 1, 1], "image_size": 32,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = api.estimate(str(tmp_path), api.EstimateOptions(on="A100-80GB", batch=4), quiet)
    assert (found.subject.model.family, found.subject.job.global_batch) == ("convnext", 4)
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    with pytest.raises(InvalidInputError, match="model_type"):
        api.estimate(str(tmp_path), api.EstimateOptions(on="A100-80GB"), quiet)


@pytest.mark.distributed
def test_a_module_that_trains_in_parts_is_planned_and_trained(tmp_path: Path) -> None:
    path = Path(job(tmp_path, "build_two_parts", "float32[batch,4]"))
    folder = api.prepare(path, api.PrepareOptions(output=tmp_path / "runs"), quiet)
    record = api.run(folder, quiet)
    assert (record.status, record.steps, record.tokens) == ("finished", 3, 12)
    assert len(list(read_steps(folder))) == 3
    assert (folder / "model" / "model.safetensors").exists()
