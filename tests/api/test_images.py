from pathlib import Path

import pytest
from PIL import Image

from trainwright.api.images import known_model, model_config, settled
from trainwright.api.previewing import preview
from trainwright.errors import InvalidInputError
from trainwright.jobs.parse import parse_job

JOB = """
[model]
preset = "{preset}"
[data]
builtin = "digits"
size = {size}
per_class = 4
[augment]
chain = ["rotate 20"]
[training]
global_batch = 8
epochs = 3
"""


def test_epochs_become_steps_and_the_model_is_captured() -> None:
    job = settled(parse_job(JOB.format(preset="small-cnn", size=16), "job.toml"))
    assert job.stopping.steps == 15
    spec, config = known_model(job)
    assert config["arguments"] == {"width": 32, "n_classes": 10, "channels": 1}
    assert spec.unit == "images"
    assert spec.n_parameters == 65184 + 64 * 10 + 10


def test_the_preview_is_a_grid_of_rows_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(preset="small-cnn", size=8))
    found = preview(path, tmp_path / "grid.png", rows=3, columns=5)
    assert found["training_images"]["7"] == 4
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (5 * (64 + 2), 3 * (64 + 2))
        pixels = picture.convert("L")
        assert pixels.crop((2, 2, 66, 66)).tobytes() != pixels.crop((68, 2, 132, 66)).tobytes()
    path.write_text(
        '[model]\npreset="smollm-135m"\n[data]\nbuiltin="python-reference"\n[training]\nglobal_batch=1\nsequence=8\nsteps=1\n'
    )
    with pytest.raises(InvalidInputError, match="has no images to show"):
        preview(path, tmp_path / "grid.png", rows=1, columns=1)


def test_models_and_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(InvalidInputError, match="images of side 9 do not cut into patches of side 2"):
        model_config(settled(parse_job(JOB.format(preset="vit-mini", size=9), "job.toml")))
    with pytest.raises(InvalidInputError, match="unknown classifier of images 'small-cn'"):
        model_config(settled(parse_job(JOB.format(preset="small-cn", size=9), "job.toml")))
