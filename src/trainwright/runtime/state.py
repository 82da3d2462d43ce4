"""What a checkpoint holds: weights, optimizer states and random state, each as a piece of a whole tensor.

Names: ``weights/PARAMETER``, ``optimizer/KEY/PARAMETER`` and ``random/RANK``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainwright.errors import CheckpointError
from trainwright.runtime.checkpoint import Checkpoint, Piece, load_pieces
from trainwright.runtime.place import Place
from trainwright.runtime.share import Share, whole

Shares = Mapping[str, Share]
"""By parameter name; a parameter that is not named is held whole."""


def state_pieces(
    model: nn.Module, optimizer: Optimizer, shares: Shares, place: Place, owns: Callable[[str], bool]
) -> dict[str, Piece]:
    """Everything this process holds; ``owns`` says of a parameter whether this process writes it."""
    pieces = _weights(model, shares, owns)
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                pieces[f"optimizer/{key}/{name}"] = _like(parameter, value, shares.get(name), owns(name))
    random = torch.get_rng_state()
    pieces[f"random/{place.rank}"] = Piece(random, whole(tuple(random.shape)))
    return pieces


def restore(checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer, shares: Shares, place: Place) -> bool:
    """Fill model, optimizer and random state; False when the random state was saved on another mesh."""
    pieces = _weights(model, shares, _everything)
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
            shape = tuple(checkpoint.tensors[full_name]["shape"])
            pieces[full_name] = _empty_state(optimizer, parameters[name], key, shape, shares.get(name))
    random_name = f"random/{place.rank}"
    random = torch.get_rng_state()
    if random_name in checkpoint.tensors:
        pieces[random_name] = Piece(random, whole(tuple(random.shape)))
    load_pieces(checkpoint, pieces)
    torch.set_rng_state(random)
    return random_name in checkpoint.tensors


def whole_weights(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Fill an undivided model from a checkpoint of any mesh."""
    load_pieces(checkpoint, _weights(model, {}, _everything))


def _everything(_name: str) -> bool:
    return True


def _weights(model: nn.Module, shares: Shares, owns: Callable[[str], bool]) -> dict[str, Piece]:
    parameters = dict(model.named_parameters())
    kept = model.state_dict()
    buffers = {name: value for name, value in model.named_buffers() if name in kept}
    return {
        f"weights/{name}": _like(value, value.detach(), shares.get(name), owns(name))
        for name, value in {**parameters, **buffers}.items()
    }


def _like(parameter: Tensor, value: Tensor, share: Share | None, owned: bool) -> Piece:
    """A piece with the parameter's share when it has its shape; otherwise (a step count) whole."""
    if share is None or value.shape != parameter.shape:
        share = whole(tuple(value.shape))
    return Piece(value, share, owned)


def _empty_state(
    optimizer: Optimizer, parameter: Tensor, key: str, shape: tuple[int, ...], share: Share | None
) -> Piece:
    like_parameter = shape == (tuple(parameter.shape) if share is None else share.shape)
    value = torch.zeros_like(parameter, requires_grad=False) if like_parameter else torch.zeros(shape)
    optimizer.state[parameter][key] = value
    return _like(parameter, value, share, owned=True)
