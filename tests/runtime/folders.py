"""Weights from a Hugging Face folder onto a mesh and back, inside worker processes; cases.json says which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tests.runtime.cases import MODELS

from trainwright.jobs.strategy import Strategy
from trainwright.runtime.checkpoint import Content, Shelf, newest_checkpoint, save_checkpoint
from trainwright.runtime.hollow import hollow
from trainwright.runtime.launch import Orders
from trainwright.runtime.mesh import make_mesh
from trainwright.runtime.place import Place, join_local, use_threads
from trainwright.runtime.shard import Sharded, shard_model
from trainwright.runtime.state import Apart, state_pieces
from trainwright.runtime.weights import fill, open_folder, write_folder


def work(orders: Orders, telephone: Any) -> dict[str, dict[str, float]]:
    """Load each case's folder, compare with the model built here, save it, write a folder of it again."""
    place = Place(rank=orders.rank, n_processes=orders.n_processes, local_rank=orders.rank)
    use_threads(1)
    port = None if place.leads else telephone.ask()
    join_local(place, port, lambda opened: telephone.tell("port", opened))
    found = {}
    for name, (kind, fields) in json.loads((orders.folder / "cases.json").read_text()).items():
        telephone.tell("event", name)
        strategy = Strategy(**{"precision": "fp32", **fields})
        with hollow():
            model = MODELS[kind]()
        assert all(parameter.is_meta for parameter in model.parameters())
        folder = open_folder(orders.folder / kind, model)
        sharded = shard_model(model, strategy, make_mesh(strategy, place))
        n_read = fill(sharded, folder)
        found[name] = {
            "wrong": wrong(sharded, kind),
            "n_read": n_read,
            "n_local": sum(p.nbytes for p in sharded.local.values()),
        }
        save(orders.folder / name, sharded, kind, place)
    return found


def wrong(sharded: Sharded, kind: str) -> float:
    """Elements of this process's parameters that are not those of the whole model."""
    wholes = dict(MODELS[kind]().named_parameters())
    n = 0
    for name, local in sharded.local.items():
        share = sharded.shares.get(name)
        spans = share.spans if share is not None else ()
        pairs = [(local[s.local_slices], wholes[name][s.whole_slices]) for s in spans]
        for mine, theirs in pairs if share is not None else [(local, wholes[name])]:
            n += int((mine != theirs).sum())
    return float(n)


def save(folder: Path, sharded: Sharded, kind: str, place: Place) -> None:
    optimizer = torch.optim.SGD(sharded.parameters, lr=0.1)
    content = Content(step=1, pieces=state_pieces(sharded, optimizer, place, Apart()), state={})
    save_checkpoint(Shelf(folder=folder, place=place), content)
    if place.leads:
        checkpoint = newest_checkpoint(folder, Place(), print)
        assert checkpoint is not None
        with hollow():
            model: Any = MODELS[kind]()
        (folder / "back").mkdir()
        write_folder(folder / "back", checkpoint, model, file_bytes=20_000)
        model.config.save_pretrained(folder / "back")
