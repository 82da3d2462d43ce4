import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.hardware.test_machine import made_up_machine

from trainwright.api.images import known_model, model_config, settled, traced_peak_bytes
from trainwright.api.planning import PlanOptions, plan
from trainwright.api.previewing import preview
from trainwright.api.training import PrepareOptions, prepare
from trainwright.errors import DataError, InvalidInputError
from trainwright.jobs.parse import parse_job
from trainwright.plan.answer import Answer
from trainwright.plan.here import plan_here
from trainwright.plan.pins import parse_pins
from trainwright.recipes.cnn import small_cnn
from trainwright.runtime.loss import loss_sum
from trainwright.runtime.model import build_model
from trainwright.runtime.precision import precision
from trainwright.train.measure import peak_bytes_of
from trainwright.train.optimizer import make_optimizer
from trainwright.units import format_seconds

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
    known = known_model(job)
    assert known.config["arguments"] == {"width": 32, "n_classes": 10, "channels": 1}
    assert known.spec.unit == "images"
    assert known.spec.n_parameters == 65184 + 64 * 10 + 10


def test_an_image_job_is_planned_with_its_data_time_and_for_other_clusters(tmp_path: Path) -> None:
    job = settled(parse_job(JOB.format(preset="small-cnn", size=8), "job.toml"))
    known = known_model(job)
    pins, machine = parse_pins(["dp=2", "micro_batch=4"]), made_up_machine()
    group = machine.divisions[0].groups[0]
    group = replace(group, device=replace(group.device, kind="cpu"))
    machine = replace(machine, divisions=(replace(machine.divisions[0], groups=(group,)),))
    chosen = plan_here(job, machine, pins, known).chosen
    assert chosen.time["data"] == pytest.approx(4 * known.sample_s)
    without = plan_here(job, machine, pins, replace(known, sample_s=0.0)).chosen
    assert chosen.step_s - without.step_s == pytest.approx(4 * known.sample_s)
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(preset="small-cnn", size=8))
    told: list[str] = []
    answer = plan(str(path), PlanOptions(on=("2xA100-SXM-80GB",)), told.append)
    assert isinstance(answer, Answer)
    assert answer.question.subject.known is not None
    made = format_seconds(answer.question.subject.known.sample_s)
    assert "judging an image by one view more (compete --views) takes about" in told[-1]
    assert f": {made} to make it and" in told[-1]
    assert answer.question.subject.batch == "8 images"
    assert answer.question.subject.config == known.config


def test_a_traced_peak_is_that_of_the_step_in_bf16_and_over_micro_batches() -> None:
    job = settled(parse_job(JOB.format(preset="small-cnn", size=16), "job.toml"))
    model = build_model(model_config(job), 0)
    optimizer = make_optimizer(model.parameters(), job.optimizer)
    images, labels = torch.rand(8, 1, 16, 16), torch.arange(8)

    def step(micro: int, name: str) -> None:
        for x, y in zip(images.split(micro), labels.split(micro), strict=True):
            with precision(name)():
                loss = loss_sum(model(x), y)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step(8, "fp32")
    states = [v for state in optimizer.state.values() for v in state.values()]
    for micro, name in ((8, "fp32"), (2, "fp32"), (8, "bf16"), (2, "bf16")):
        step(micro, name)
        measured = peak_bytes_of(partial(step, micro, name), [*model.parameters(), *states, images, labels])
        assert traced_peak_bytes(job, model_config(job), (8, micro), name) == pytest.approx(measured, rel=0.1)


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


def _pictures(folder: Path, names: str, side: int = 8) -> None:
    for name in names.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (side, side), len(name)).save(folder / name)


@pytest.mark.parametrize(
    ("names", "more", "error", "message"),
    [
        ("a/1.png b/1.png b/2.png", "folds = 2", DataError, "class a has 1 image, too few for 2 folds"),
        ("a/1.png b/1.png", 'small = "refuse"\nsize = 12', DataError, "smaller than 12 x 12 pixels, the smallest 8"),
        ("a/1.png b/1.png", 'classes = ["a", "c"]', InvalidInputError, "unknown class 'c'"),
        ("a/1.png", "", DataError, r"photos has 1 class \(a\)"),
        (
            "a/1.png b/1.png",
            "channels = 3\n[transfer]\nstart = {start}",
            InvalidInputError,
            r"another architecture: blo",
        ),
        ("a/1.png b/1.png", "[transfer]\nstart = {start}\nfreeze = 9", InvalidInputError, "the model has 4 blocks"),
    ],
)
def test_what_is_wrong_is_said_before_planning_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str, more: str, error: type[Exception], message: str
) -> None:
    monkeypatch.setattr("trainwright.api.training.machine", lambda *_, **__: pytest.fail("planned"))
    (tmp_path / "start").mkdir()
    about = {"config": {}, "classes": ["a"], "size": 8, "channels": 1, "mean": [0.5], "deviation": [0.5]}
    (tmp_path / "start" / "images.json").write_text(json.dumps(about))
    save_file(small_cnn(1, 1).state_dict(), tmp_path / "start" / "model.safetensors")
    _pictures(tmp_path / "photos", names)
    text = (
        '[model]\npreset = "small-cnn"\n[training]\nglobal_batch = 2\nsteps = 1\n[output]\nfolder = "{runs}"\n[data]\n'
    )
    text += 'images = "photos"\n' + more
    (tmp_path / "job.toml").write_text(text.format(runs=tmp_path / "runs", start='"start"'))
    with pytest.raises(error, match=message):
        prepare(tmp_path / "job.toml", PrepareOptions(), lambda _: None)
    assert not list((tmp_path / "runs").glob("*"))
