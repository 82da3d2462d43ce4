"""What a checkpoint holds: weights, optimizer states and random state, each as a piece of a whole tensor.

Names: ``weights/PARAMETER``, ``optimizer/KEY/PARAMETER``, ``random/RANK`` (and ``random_cuda/RANK`` of a GPU); where
replicas step apart also
``optimizer.REPLICA/KEY/PARAMETER`` and ``outer/PARAMETER``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainwright.errors import CheckpointError
from trainwright.runtime.checkpoint import Checkpoint, Piece, load_pieces
from trainwright.runtime.place import Place
from trainwright.runtime.shard import Sharded
from trainwright.runtime.share import Share, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """What replicas that do not step together hold besides.

    ``replica``: which one's optimizer states these are; 0 also where all have the same. ``outer``: more tensors by
    name, alike everywhere.
    """

    replica: int = 0
    outer: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What names of this replica's optimizer states begin with."""
        return f"optimizer.{self.replica}" if self.replica else "optimizer"


def state_pieces(sharded: Sharded, optimizer: Optimizer, place: Place, apart: Apart) -> dict[str, Piece]:
    """Everything this process holds; pieces without elements (more processes than rows) are left out."""
    pieces = _weights(sharded)
    for name, parameter in sharded.local.items():
        for key, value in _states(optimizer, parameter).items():
            if isinstance(value, Tensor):
                owned = sharded.owns(name) if value.shape == parameter.shape else _holds_start(sharded, name)
                owned = owned or apart.replica > 0
                pieces[f"{apart.kind}/{key}/{name}"] = _like(parameter, value, sharded.shares.get(name), owned)
    for name, value in apart.outer.items():
        pieces[f"outer/{name}"] = Piece(value, whole(tuple(value.shape)), place.leads)
    for kind, state in _random_states(place).items():
        pieces[f"{kind}/{place.rank}"] = Piece(state, whole(tuple(state.shape)))
    return {name: piece for name, piece in pieces.items() if piece.share.spans}


def restore(checkpoint: Checkpoint, sharded: Sharded, optimizer: Optimizer, place: Place, apart: Apart) -> bool:
    """Fill model, optimizer and random state; False when the random state was saved on another mesh.

    A replica that had no states of its own begins with those of the first.
    """
    pieces = _weights(sharded)
    wanted = {name for name in checkpoint.tensors if name.startswith("weights/")}
    unknown = sorted(wanted - pieces.keys())
    if unknown and sharded.pipeline is None:
        raise CheckpointError(
            f"{checkpoint.folder} is of another model: it has {unknown[0][8:]}, which is not in this one",
            hint="run with the plan that made it, or choose another folder",
        )
    own = apart.kind if any(name.startswith(f"{apart.kind}/") for name in checkpoint.tensors) else "optimizer"
    for name, value in apart.outer.items():
        if f"outer/{name}" in checkpoint.tensors:
            pieces[f"outer/{name}"] = Piece(value, whole(tuple(value.shape)))
    for full_name in checkpoint.tensors:
        kind, _, rest = full_name.partition("/")
        if kind == own:
            key, _, name = rest.partition("/")
            if name not in sharded.local:
                continue  # of another pipeline stage
            shape = tuple(checkpoint.tensors[full_name]["shape"])
            pieces[full_name] = _empty_state(optimizer, sharded.local[name], key, shape, sharded.shares.get(name))
    random = _random_states(place)
    known = [kind for kind in random if f"{kind}/{place.rank}" in checkpoint.tensors]
    for kind in known:
        pieces[f"{kind}/{place.rank}"] = Piece(random[kind], whole(tuple(random[kind].shape)))
    load_pieces(checkpoint, pieces)
    torch.set_rng_state(random["random"])
    if "random_cuda" in random:
        torch.cuda.set_rng_state(random["random_cuda"])
    sharded.after_update()
    return len(known) == len(random)


def _random_states(place: Place) -> dict[str, Tensor]:
    """The generators whose numbers a step draws: the CPU's, and on a GPU its own."""
    states = {"random": torch.get_rng_state()}
    if place.device_type == "cuda":
        states["random_cuda"] = torch.cuda.get_rng_state()
    return states


def whole_weights(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Fill an undivided model from a checkpoint of any mesh."""
    load_pieces(checkpoint, {f"weights/{name}": Piece(t, whole(tuple(t.shape))) for name, t in _kept(model).items()})


def _kept(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, each once, and the buffers that are part of a model's state."""
    kept = model.state_dict()
    buffers = {name: value for name, value in model.named_buffers() if name in kept}
    return {**{name: p.detach() for name, p in model.named_parameters()}, **buffers}


def _weights(sharded: Sharded) -> dict[str, Piece]:
    trained = {name for name, p in sharded.model.named_parameters() if p.requires_grad}
    others = {name: value for name, value in _kept(sharded.model).items() if name not in trained}
    tensors = {**others, **{name: p.detach() for name, p in sharded.local.items()}}
    return {
        f"weights/{name}": _like(value, value, sharded.shares.get(name), sharded.owns(name))
        for name, value in tensors.items()
    }


def _states(optimizer: Optimizer, parameter: nn.Parameter) -> Mapping[str, Any]:
    """An optimizer's states of a parameter, each in the parameter's shape or alike in all its parts."""
    unpacked: Callable[[nn.Parameter], dict[str, Tensor]] | None = getattr(optimizer, "unpacked", None)
    return unpacked(parameter) if unpacked is not None else optimizer.state.get(parameter, {})


def _holds_start(sharded: Sharded, name: str) -> bool:
    """Whether this process writes what all parts of a parameter have alike, such as a step count."""
    dividing = [axis for axis in sharded.over.get(name, ()) if axis != "pp"]
    return sharded.owns(name) and all(sharded.mesh.index(axis) == 0 for axis in dividing)


def _like(parameter: Tensor, value: Tensor, share: Share | None, owned: bool) -> Piece:
    """A piece with the parameter's share when it has its shape; otherwise (a step count) whole."""
    if share is None or value.shape != parameter.shape:
        share = whole(tuple(value.shape))
    return Piece(value, share, owned)


def _empty_state(
    optimizer: Optimizer, parameter: Tensor, key: str, shape: tuple[int, ...], share: Share | None
) -> Piece:
    like_parameter = shape == (tuple(parameter.shape) if share is None else share.shape)
    value = (
        torch.zeros_like(parameter, requires_grad=False)
        if like_parameter
        else torch.zeros(shape, device=parameter.device)
    )
    optimizer.state[parameter][key] = value
    return _like(parameter, value, share, owned=True)
