"""What a checkpoint holds: weights, optimizer states and random state, each as a piece of a whole tensor.

Names: ``weights/PARAMETER``, ``optimizer/KEY/PARAMETER`` and ``random/RANK``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainwright.errors import CheckpointError
from trainwright.runtime.checkpoint import Checkpoint, Piece, load_pieces
from trainwright.runtime.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which part of a whole parameter of ``shape`` this process holds, and whether it is the one that writes it."""

    shape: tuple[int, ...]
    offset: tuple[int, ...]
    owned: bool


Shares = Mapping[str, Share]
"""By parameter name; a parameter that is not named is held whole, and the leader of its replicas writes it."""


def state_pieces(model: nn.Module, optimizer: Optimizer, shares: Shares, place: Place, owner: bool) -> dict[str, Piece]:
    """Everything this process holds; ``owner`` says whether it writes what it holds whole."""
    pieces = _weights(model, shares, owner)
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                pieces[f"optimizer/{key}/{name}"] = _like(parameter, value, shares.get(name), owner)
    random = torch.get_rng_state()
    pieces[f"random/{place.rank}"] = Piece(random, tuple(random.shape), (0,))
    return pieces


def restore(checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer, shares: Shares, place: Place) -> bool:
    """Fill model, optimizer and random state; False when the random state was saved on another mesh."""
    pieces = _weights(model, shares, owner=True)
    wanted = {name for name in checkpoint.tensors if name.startswith("weights/")}
    if unknown := sorted(wanted - pieces.keys()):
        raise CheckpointError(
            f"{checkpoint.folder} is of another model: it has {unknown[0][8:]}, which is not in this one",
            hint="run with the plan that made it, or choose another folder",
        )
    parameters = dict(model.named_parameters())
    for full_name in checkpoint.tensors:
        kind, _, rest = full_name.partition("/")
        if kind == "optimizer":
            key, _, name = rest.partition("/")
            whole = tuple(checkpoint.tensors[full_name]["shape"])
            pieces[full_name] = _empty_state(optimizer, parameters[name], key, whole, shares.get(name))
    random_name = f"random/{place.rank}"
    random = torch.get_rng_state()
    if random_name in checkpoint.tensors:
        pieces[random_name] = Piece(random, tuple(random.shape), (0,))
    load_pieces(checkpoint, pieces)
    torch.set_rng_state(random)
    return random_name in checkpoint.tensors


def whole_weights(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Fill an undivided model from a checkpoint of any mesh."""
    load_pieces(checkpoint, _weights(model, {}, owner=True))


def _weights(model: nn.Module, shares: Shares, owner: bool) -> dict[str, Piece]:
    parameters = dict(model.named_parameters())
    kept = model.state_dict()
    buffers = {name: value for name, value in model.named_buffers() if name in kept}
    return {
        f"weights/{name}": _like(value, value.detach(), shares.get(name), owner)
        for name, value in {**parameters, **buffers}.items()
    }


def _like(parameter: Tensor, value: Tensor, share: Share | None, owner: bool) -> Piece:
    """A piece with the parameter's share when it has its shape; otherwise (a step count) whole."""
    if share is None or value.shape != parameter.shape:
        return Piece(value, tuple(value.shape), (0,) * value.dim(), owner)
    return Piece(value, share.shape, share.offset, share.owned)


def _empty_state(
    optimizer: Optimizer, parameter: Tensor, key: str, whole: tuple[int, ...], share: Share | None
) -> Piece:
    is_share = share is not None and whole == share.shape
    value = torch.zeros(parameter.shape if is_share else whole, dtype=torch.float32)
    if value.shape == parameter.shape:
        value = torch.zeros_like(parameter, requires_grad=False)
    optimizer.state[parameter][key] = value
    return _like(parameter, value, share, owner=True)
