import csv
import hashlib
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.train.images import DIGITS, image_job, image_plan
from tests.train.test_resume import at_any_step, at_step, in_child, kill_myself

from trainwright.data.images import prepare_images
from trainwright.data.loader import find_workers
from trainwright.jobs.augment import parse_chain
from trainwright.jobs.job import ModelChoice, Stopping, Transfer
from trainwright.jobs.strategy import Strategy
from trainwright.records.run import read_run
from trainwright.records.step import StepRecord, read_steps
from trainwright.runtime.verify import verify_plan
from trainwright.train.images import ImageTask, Normalization
from trainwright.train.run import Event, run_plan


def task_of(tmp_path: Path, **changes: object) -> ImageTask:
    images = prepare_images(tmp_path / "data", DIGITS, seed=0)
    chain = parse_chain(["flip", "crop", "rotate", "brightness", "erase", "mosaic"])
    normalization = Normalization(mean=(0.3,), deviation=(0.4,))
    task = ImageTask(images=images, normalization=normalization, global_batch=12, seed=1, chain=chain)
    return replace(task, _loaders={}, **changes)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_pixels_for_any_workers_and_replicas(tmp_path: Path) -> None:
    tasks = [task_of(tmp_path, n_workers=n) for n in (0, 1, 4)]
    for step in (0, 1, 13, 14):
        first, labels = tasks[0].rows(step, 0, 1)
        for task in tasks[1:]:
            pixels, same = task.rows(step, 0, 1)
            assert torch.equal(pixels, first)
            assert torch.equal(same, labels)
        halves = [task_of(tmp_path).rows(step, index, 2) for index in (0, 1)]
        assert torch.allclose(torch.cat([pixels for pixels, _ in halves]), first, atol=1e-6)
        assert torch.allclose(torch.cat([shares for _, shares in halves]), labels)


def test_an_epoch_sees_every_image_once_and_labels_are_untouched_without_mixing(tmp_path: Path) -> None:
    task = task_of(tmp_path, chain=parse_chain(["flip"]), global_batch=16)
    ids = np.concatenate([task.samples(step)[0] for step in range(10)])
    assert sorted(ids.tolist()) == list(range(160))
    _, labels = task.rows(3, 0, 1)
    assert labels.dtype == torch.int64
    assert labels.tolist() == task.images.train.labels[task.samples(3)[0]].tolist()


def test_unequal_classes_are_weighted_or_drawn_evenly(tmp_path: Path) -> None:
    task = task_of(tmp_path, chain=(), global_batch=40)
    kept = np.flatnonzero((task.images.train.labels != 0) | (np.arange(160) % 8 == 0))
    train = task.images.train
    few = replace(train, pixels=train.pixels[kept], labels=train.labels[kept], names=tuple(map(str, kept)))
    task = replace(task, images=replace(task.images, train=few), _loaders={})
    weights = [replace(task, balance="weight", _loaders={}).rows(step, 0, 1)[1].sum(dim=0) for step in range(20)]
    by_class = torch.stack(weights).sum(dim=0)
    assert by_class.max() / by_class.min() < 1.3
    drawn = np.concatenate(
        [task.images.train.labels[replace(task, balance="resample").samples(step)[0]] for step in range(40)]
    )
    assert np.bincount(drawn)[0] > 0.6 * np.bincount(drawn).mean()


def test_the_fewest_workers_that_keep_the_trainer_fed() -> None:
    """By a clock that only making a batch moves."""
    clock = [0.0]

    def takes(seconds: float) -> Callable[[int], None]:
        def make(_step: int) -> None:
            clock[0] += seconds

        return make

    assert find_workers(takes(0.001), 1.0, 1, now=lambda: clock[0]).n_workers == 0
    assert find_workers(takes(0.02), 0.03, 0, now=lambda: clock[0]).n_workers == 0
    slow = find_workers(takes(0.02), 0.03, 4, now=lambda: clock[0])
    assert slow.n_workers == 1
    assert slow.batches_per_s == pytest.approx({0: 50, 1: 50})


def test_an_image_run_learns_and_leaves_a_classifier(tmp_path: Path) -> None:
    events: list[Event] = []
    optimizer = replace(image_job().optimizer, learning_rate=1e-2)
    folder = image_plan(tmp_path / "run", stopping=Stopping(steps=100), optimizer=optimizer, augment=())
    record = run_plan(folder, progress=events.append)
    assert record.evaluations[-1].accuracy is not None
    assert record.evaluations[-1].accuracy > 0.5
    steps = [event for event in events if isinstance(event, StepRecord)]
    assert steps[0].tokens == 16
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert right == pytest.approx(record.evaluations[-1].accuracy, abs=0.01)


@pytest.mark.parametrize("preset", ["resnet-mini", "convnext-mini", "vit-mini"])
def test_hugging_face_families_train_and_load_again(tmp_path: Path, preset: str) -> None:
    from transformers import AutoModelForImageClassification

    folder = image_plan(tmp_path / "run", model=ModelChoice(preset=preset), stopping=Stopping(steps=2))
    assert run_plan(folder).status == "finished"
    model = AutoModelForImageClassification.from_pretrained(folder / "model")
    assert model.config.id2label[3] == "3"
    assert model(torch.zeros(2, 1, 8, 8)).logits.shape == (2, 10)


def bits(folder: Path) -> str:
    return hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


def two_kills(folder: Path) -> None:
    """Start the plan in a process of its own that is killed after the third step, and again; then let it end.

    The workers of the first may have got further than it heard: the second is killed at the first step it hears of.
    """
    assert in_child(lambda: run_plan(folder, progress=at_step(2, kill_myself))) == -signal.SIGKILL
    assert in_child(lambda: run_plan(folder, progress=at_any_step(kill_myself))) == -signal.SIGKILL
    assert run_plan(folder).status == "finished"


def test_an_image_run_killed_twice_ends_with_the_same_bits(tmp_path: Path) -> None:
    run_plan(image_plan(tmp_path / "straight"))
    two_kills(image_plan(tmp_path / "killed"))
    assert bits(tmp_path / "killed") == bits(tmp_path / "straight")


@pytest.mark.distributed
@pytest.mark.parametrize("way", [{"freeze": 2, "layer_decay": 0.5, "unfreeze_every": 2}, {"lora_rank": 4}], ids=str)
def test_two_processes_fine_tune_as_one_does_and_end_with_the_same_bits_when_killed(
    tmp_path: Path, way: dict[str, Any]
) -> None:
    run_plan(image_plan(tmp_path / "start"))
    transfer = Transfer(start=tmp_path / "start", **way)
    two = Strategy(dp=2, micro_batch=4, precision="fp32")
    run_plan(image_plan(tmp_path / "one", transfer=transfer))
    run_plan(image_plan(tmp_path / "two", two, transfer=transfer))
    two_kills(image_plan(tmp_path / "killed", two, transfer=transfer))
    assert bits(tmp_path / "killed") == bits(tmp_path / "two")
    losses = [[step.loss for step in read_steps(tmp_path / name)] for name in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.distributed
def test_two_processes_learn_from_images_as_one_does(tmp_path: Path) -> None:
    run_plan(image_plan(tmp_path / "one"))
    run_plan(image_plan(tmp_path / "two", Strategy(dp=2, micro_batch=4, precision="fp32")))
    one, two = read_steps(tmp_path / "one"), read_steps(tmp_path / "two")
    assert [s.loss for s in two] == pytest.approx([s.loss for s in one], rel=1e-4)
    assert [e.accuracy for e in read_run(tmp_path / "two").evaluations] == pytest.approx(
        [e.accuracy for e in read_run(tmp_path / "one").evaluations], abs=0.01
    )


@pytest.mark.distributed
def test_batch_norm_over_two_processes_is_that_of_one(tmp_path: Path) -> None:
    """One process that takes the whole batch at once, so that its statistics are of the same images."""
    changes = {"model": ModelChoice(preset="resnet-mini"), "augment": ()}
    run_plan(image_plan(tmp_path / "one", Strategy(micro_batch=16, precision="fp32"), **changes))
    run_plan(image_plan(tmp_path / "two", Strategy(dp=2, micro_batch=8, precision="fp32"), **changes))
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    assert any(name.endswith("running_var") for name in one)
    for name, tensor in one.items():
        assert torch.allclose(two[name].float(), tensor.float(), rtol=1e-3, atol=1e-3), name
    losses = [[step.loss for step in read_steps(tmp_path / name)] for name in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.distributed
def test_verify_knows_a_classifier_with_batch_norm_over_two_processes(tmp_path: Path) -> None:
    two = Strategy(dp=2, micro_batch=8, precision="fp32")
    found = verify_plan(image_plan(tmp_path, two, model=ModelChoice(preset="resnet-mini")))
    assert max(found.losses, found.gradients) < 1e-5
