"""Folders of Hugging Face weights are read onto a mesh and written from one, each process only its part."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runtime.cases import MODELS
from torch import nn

from trainwright.errors import CheckpointError, InvalidInputError
from trainwright.jobs.strategy import Strategy
from trainwright.runtime.hollow import hollow
from trainwright.runtime.launch import Orders, launch
from trainwright.runtime.mesh import Mesh
from trainwright.runtime.shard import shard_model
from trainwright.runtime.weights import fill, open_folder

DIVIDED = {"tp": 2, "pp": 2}
CASES: dict[str, Any] = {
    **{f"{kind} zero3 tp2": (kind, {"dp": 2, "tp": 2, "zero_stage": 3}) for kind in MODELS},
    **{f"{kind} tp2 pp2": (kind, DIVIDED) for kind in MODELS if kind != "vit"},
    "mixtral ep2 zero1 tp2": ("mixtral", {"dp": 2, "ep": 2, "tp": 2, "zero_stage": 1}),
    "vit zero1 tp2": ("vit", {"dp": 2, "tp": 2, "zero_stage": 1}),
}


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
def test_weights_go_onto_a_mesh_and_back(tmp_path: Path) -> None:
    sizes = {}
    for kind, build in MODELS.items():
        model: Any = build()
        model.save_pretrained(tmp_path / kind, max_shard_size="20KB")
        sizes[kind] = sum(p.nbytes for p in model.parameters())
    (tmp_path / "cases.json").write_text(json.dumps(CASES))
    names: list[str] = []
    orders = Orders(module="tests.runtime.folders", folder=tmp_path, n_processes=4, n_threads=1)
    found = launch(orders, names.append)
    for name, (kind, fields) in CASES.items():
        assert found[name]["wrong"] == 0, name
        if "zero_stage" in fields:
            assert found[name]["n_local"] < 0.45 * sizes[kind], name
        if kind not in ("mixtral",) and fields == DIVIDED:  # an expert's file entries are read whole, one layer at once
            assert found[name]["n_read"] < 0.75 * sizes[kind], name
        back: Any = type(MODELS[kind]()).from_pretrained(tmp_path / name / "back")  # type: ignore[attr-defined]
        for own, parameter in MODELS[kind]().named_parameters():
            assert torch.equal(parameter, dict(back.named_parameters())[own]), (name, own)
        assert len(list((tmp_path / name / "back").glob("*.safetensors"))) > 1
        saved = {key for p in (tmp_path / kind).glob("*.index.json") for key in json.loads(p.read_text())["weight_map"]}
        again = json.loads((tmp_path / name / "back" / "model.safetensors.index.json").read_text())["weight_map"]
        assert saved == again.keys()


def alone(model: nn.Module) -> Any:
    return shard_model(model, Strategy(precision="fp32"), Mesh(sizes={}, indexes={}))


def test_another_model_is_refused_by_name(tmp_path: Path) -> None:
    MODELS["llama"]().save_pretrained(tmp_path / "saved")  # type: ignore[operator]
    with hollow():
        other = MODELS["qwen3"]()
    folder = open_folder(tmp_path / "saved", other)
    with pytest.raises(CheckpointError, match=r"is of another model: (it has no|model\.\S+ is \[)"):
        fill(alone(other), folder)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot read the weights in"):
        open_folder(tmp_path, nn.Linear(2, 2))
