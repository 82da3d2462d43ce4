import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.train.images import DIGITS, image_job, image_plan

from trainwright.data.start import read_start
from trainwright.errors import InvalidInputError
from trainwright.jobs.job import Job, ModelChoice, Stopping, Transfer
from trainwright.jobs.parse import parse_job
from trainwright.models.images import for_classes
from trainwright.recipes.cnn import small_cnn
from trainwright.runtime.depth import depths, freeze_parameters, frozen_names
from trainwright.runtime.model import build_model
from trainwright.train.capturing import priced
from trainwright.train.labels import matched_rows
from trainwright.train.lora import adapt
from trainwright.train.optimizer import make_optimizer
from trainwright.train.run import run_plan
from trainwright.train.transfer import check_start, rate_share, settled_at, take_start, thaw


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start") / "run"
    images = replace(DIGITS, classes=("0", "1", "2", "3"))
    run_plan(image_plan(folder, images=images, stopping=Stopping(steps=3)))
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def changes(start: Path, **transfer: object) -> dict[str, object]:
    images = replace(DIGITS, classes=("2", "3", "7"))
    return {
        "images": images,
        "transfer": Transfer(start=start, **transfer),  # type: ignore[arg-type]
        "augment": (),
        "stopping": Stopping(steps=4),
    }


def test_frozen_parameters_do_not_change_by_one_bit_and_cost_no_gradients(tmp_path: Path, start: Path) -> None:
    before = weights(start)
    peaks = {}
    for freeze in (0, 2, "all but head"):
        folder = tmp_path / str(freeze)
        record = run_plan(image_plan(folder, **changes(start, freeze=freeze)))
        after = weights(folder)
        still = frozen_names(small_cnn(3, 1), freeze)  # type: ignore[arg-type]
        assert len(still) == {0: 0, 2: 6, "all but head": 12}[freeze]
        for name, tensor in after.items():
            if name in still:
                assert torch.equal(tensor, before[name])
            elif not name.startswith("head"):
                assert not torch.equal(tensor, before[name])
        peaks[freeze] = record.peak_bytes or 0.0
    n_bytes = 4 * sum(before[name].numel() for name in before if not name.startswith("head"))
    assert peaks[0] - peaks["all but head"] > 3 * n_bytes  # gradient, two states, and what backward kept


def test_lora_changes_each_weight_by_a_matrix_of_its_rank_and_nothing_else(tmp_path: Path, start: Path) -> None:
    run_plan(image_plan(tmp_path / "run", **changes(start, lora_rank=4)))
    before, after = weights(start), weights(tmp_path / "run")
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        if name.startswith("head."):
            continue
        change = tensor - before[name]
        if tensor.dim() == 1:
            assert not change.any()
        elif tensor.shape[1] > 1:
            values = torch.linalg.svdvals(change.flatten(1))
            assert values[0] > 0
            assert values[4] < 1e-3 * values[0]


def test_a_rank_wider_than_every_layer_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"no layer below the head is wider than transfer\.lora_rank = 999"):
        adapt(small_cnn(3, 1), 999, seed=0)
    text = '[data]\nbuiltin = "digits"\n[training]\nglobal_batch = 8\nsteps = 1\n[transfer]\nstart = "x"\n'
    with pytest.raises(InvalidInputError, match=r"freezes all but the head; leave out transfer\.freeze"):
        parse_job(text + "lora_rank = 4\nfreeze = 2", "job.toml")


def test_rows_of_the_head_are_reused_by_label_and_the_rest_is_drawn(start: Path) -> None:
    model = small_cnn(3, 1)
    old = weights(start)
    drawn = model.state_dict()["head.weight"].clone()
    said = take_start(model, read_start(start), ("3", "Two", "7"), Transfer(start=start, synonyms=(("two", "2"),)))
    head = model.state_dict()["head.weight"]
    assert torch.equal(head[0], old["head.weight"][3])
    assert torch.equal(head[1], old["head.weight"][2])
    assert torch.equal(head[2], drawn[2])
    assert said[1:] == [
        "head: 2 of 3 rows reused: 3 from 3 (exact), Two from 2 (synonym)", "head: drawn at random: 7",
    ]  # fmt: skip
    take_start(model, read_start(start), ("3", "2", "7"), Transfer(start=start, reuse_rows=False))
    assert torch.equal(model.state_dict()["blocks.3.0.weight"], old["blocks.3.0.weight"])


def test_labels_that_match_twice_are_refused() -> None:
    with pytest.raises(
        InvalidInputError, match=r"'sea lion' matches 2 rows of the starting head: 'Sea-Lion', 'SeaLion'"
    ):
        matched_rows(["Sea-Lion", "SeaLion"], ["sea lion"])
    with pytest.raises(InvalidInputError, match=r"labels 'Car' and 'auto' both match the starting head's 'car'"):
        matched_rows(["car"], ["Car", "auto"], [("car", "auto")])


def test_a_start_of_another_architecture_names_the_first_tensor(tmp_path: Path, start: Path) -> None:
    def refused(about: str, match: str, n_channels: int = 1) -> None:
        """By names and shapes before anything is planned, and by the weights."""
        transfer, classes = Transfer(start=Path(about)), ("1", "b", "c")
        config = {
            "function": "trainwright.recipes.cnn:small_cnn",
            "arguments": {"n_classes": 3, "channels": n_channels},
        }
        with pytest.raises(InvalidInputError, match=match):
            check_start(config, classes, transfer)
        with pytest.raises(InvalidInputError, match=match):
            take_start(small_cnn(3, n_channels), read_start(transfer.start), classes, transfer)

    refused(
        str(start),
        r"blocks.0.0.weight is \[32, 3, 3, 3\] here and is \[32, 1, 3, 3\] there\n.*data.size = 8, data.channels = 1",
        3,
    )
    config = json.loads((start / "model" / "images.json").read_text())
    tensors = weights(start)
    (tmp_path / "images.json").write_text(json.dumps({**config, "classes": ["a", "b"]}))
    save_file(tensors, tmp_path / "model.safetensors")
    refused(str(tmp_path), r"head\.\w+ has 4 rows and there are 2 class names")
    (tmp_path / "images.json").write_text(json.dumps({**config, "classes": ["1", "1", "2", "3"]}))
    refused(str(tmp_path), r"the label '1' matches 2 rows of the starting head")
    tensors.pop("blocks.2.1.bias")
    save_file(tensors, tmp_path / "model.safetensors")
    refused(str(tmp_path), r"blocks.2.1.bias is \[64\] here and is not there")
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    refused(str(tmp_path), r"cannot read the weights in")
    with pytest.raises(InvalidInputError, match=r"there is no model.safetensors in"):
        read_start(tmp_path / "nowhere")


def test_a_folder_that_transformers_saved_is_a_start_with_its_head_or_without(tmp_path: Path) -> None:
    """Its tensors are named as on the hub (vit.encoder.layer ...), not as the modules are; a bare one has no head."""
    from transformers import ViTConfig, ViTForImageClassification

    names = {0: "cat", 1: "2", 2: "3"}
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4,
        num_channels=1, id2label=names, label2id={name: number for number, name in names.items()},
    )  # fmt: skip
    whole = ViTForImageClassification(config)
    whole.save_pretrained(tmp_path / "whole")
    whole.vit.save_pretrained(tmp_path / "bare")
    classes = ("2", "3", "7")
    for name, told in (("whole", "head: 2 of 3 rows reused"), ("bare", "head: all 3 rows drawn at random")):
        found, transfer = read_start(tmp_path / name), Transfer(start=tmp_path / name)
        fitted = for_classes(found.config, classes, 1, 8)
        check_start(fitted, classes, transfer)
        model: Any = build_model(fitted, 0)
        assert take_start(model, found, classes, transfer)[1].startswith(told)
        assert all(torch.equal(a, b) for a, b in zip(model.vit.parameters(), whole.vit.parameters(), strict=True))


def test_a_hugging_face_folder_is_a_start_and_its_batch_statistics_stay(tmp_path: Path) -> None:
    resnet = ModelChoice(preset="resnet-mini")
    run_plan(image_plan(tmp_path / "first", model=resnet, stopping=Stopping(steps=2)))
    (tmp_path / "first" / "model" / "images.json").unlink()
    found = read_start(tmp_path / "first")
    assert found.classes[3] == "3"
    assert found.channels == 1
    assert found.mean is not None
    change = changes(tmp_path / "first" / "model", freeze="all but head")
    record = run_plan(image_plan(tmp_path / "second", model=resnet, **change))
    assert any("2 from 2 (exact), 3 from 3 (exact), 7 from 7 (exact)" in note for note in record.notes)
    before, after = weights(tmp_path / "first"), weights(tmp_path / "second")
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) or name.startswith("classifier"), name


def test_rates_fall_with_depth_and_blocks_are_freed_from_the_head_down(start: Path) -> None:
    model = small_cnn(3, 1)
    transfer = Transfer(start=start, head_rate=10.0, layer_decay=0.5, freeze="all but head", unfreeze_every=5)
    job: Job = image_job()
    optimizer = make_optimizer(model.parameters(), job.optimizer, rate_share(model, transfer))
    shares = {id(p): group["rate_share"] for group in optimizer.param_groups for p in group["params"]}
    assert shares[id(model.get_parameter("head.weight"))] == 10.0
    assert [shares[id(model.get_parameter(f"blocks.{n}.0.weight"))] for n in (3, 2, 0)] == [0.5, 0.25, 0.0625]
    moving = []
    for step in (0, 4, 5, 10, 20, 30):
        thaw(model, transfer, step)
        moving.append(sum(p.requires_grad for p in model.parameters()))
    assert moving == [2, 2, 5, 8, 14, 14]
    assert [settled_at(model, transfer, n) for n in (5, 12, 100, None)] == [0, 10, 20, 20]
    for n_steps, n_moving in ((5, 2), (12, 8), (100, 14)):  # a plan holds what moves at the end
        end = priced(small_cnn(3, 1), transfer, n_steps=n_steps)
        assert sum(p.requires_grad for p in end.parameters()) == n_moving


def test_more_blocks_than_there_are_cannot_be_frozen() -> None:
    with pytest.raises(InvalidInputError, match=r"transfer\.freeze = 9, and the model has 4 blocks"):
        frozen_names(small_cnn(3, 1), 9)
    with pytest.raises(InvalidInputError, match="no linear layer to serve as its head"):
        depths(torch.nn.Conv2d(1, 1, 1))


def test_frozen_normalization_keeps_its_statistics_in_training() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    freeze_parameters(model, frozen_names(model, "all but head"))
    model(torch.randn(8, 4) + 5)
    assert torch.equal(model[1].running_mean, torch.zeros(4))  # type: ignore[arg-type]
