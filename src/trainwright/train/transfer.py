"""Start from a trained model: features copied, head rows reused by label name, blocks frozen, rates by depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainwright.data.start import Start, start_weights
from trainwright.errors import CheckpointError
from trainwright.jobs.job import Transfer
from trainwright.runtime.depth import depths, freeze_parameters, frozen_names
from trainwright.train.labels import matched_rows
from trainwright.train.lora import moves
from trainwright.train.optimizer import RateShare


def take_start(model: nn.Module, start: Start, classes: Sequence[str], transfer: Transfer) -> list[str]:
    """Copy the start's weights into the model; returns sentences that say what was taken and what was drawn.

    Everything but the head must be there with the same name and shape. Raises CheckpointError naming the first tensor
    that differs, or a head whose rows are not the start's classes.
    """
    weights = start_weights(start)
    head = frozenset(depths(model).head)
    mine = model.state_dict()
    for name, tensor in mine.items():
        if name not in head:
            _check_same(name, tensor, weights, start)
    with torch.no_grad():
        for name, tensor in mine.items():
            if name not in head:
                tensor.copy_(weights[name])
    n_copied = len(mine) - len(head)
    return [
        f"{n_copied} tensors copied from {start.folder}",
        *_take_head(mine, head, weights, (start, classes, transfer)),
    ]


def _check_same(name: str, tensor: Tensor, weights: dict[str, Tensor], start: Start) -> None:
    theirs = weights.get(name)
    if theirs is not None and theirs.shape == tensor.shape:
        return
    there = "is not there" if theirs is None else f"is {list(theirs.shape)} there"
    raise CheckpointError(
        f"{start.folder} is of another architecture: {name} is {list(tensor.shape)} here and {there}",
        hint="give [model] the architecture of transfer.start, or start from another folder",
    )


def _take_head(
    mine: dict[str, Tensor],
    head: frozenset[str],
    weights: dict[str, Tensor],
    what: tuple[Start, Sequence[str], Transfer],
) -> list[str]:
    start, classes, transfer = what
    for name in head:
        if name in weights and start.classes and len(weights[name]) != len(start.classes):
            raise CheckpointError(
                f"{start.folder}: the head's {name} has {len(weights[name])} rows and there are "
                f"{len(start.classes)} class names",
                hint="correct the folder's class names, or set transfer.reuse_rows = false",
            )
    if not transfer.reuse_rows or not start.classes:
        return [f"head: all {len(classes)} rows drawn at random"]
    rows = matched_rows(start.classes, classes, transfer.synonyms)
    with torch.no_grad():
        for name in head & weights.keys():
            if weights[name].shape[1:] != mine[name].shape[1:]:
                _check_same(name, mine[name], weights, start)
            for number, (row, _) in rows.items():
                mine[name][number] = weights[name][row]
    drawn = [name for number, name in enumerate(classes) if number not in rows]
    reused = [f"{classes[n]} from {start.classes[row]} ({how})" for n, (row, how) in rows.items()]
    lines = [f"head: {len(rows)} of {len(classes)} rows reused: {', '.join(reused)}"] if rows else []
    return [*lines, f"head: drawn at random: {', '.join(drawn)}"] if drawn else lines


def freeze_for(model: nn.Module, transfer: Transfer | None) -> None:
    """Freeze what stands still when training begins."""
    if transfer is not None and transfer.lora_rank is not None:
        head = frozenset(depths(model).head)
        names = [name for name, _ in model.named_parameters()]
        freeze_parameters(model, frozenset(name for name in names if not (moves(name) or name in head)))
    elif transfer is not None and transfer.freeze != 0:
        freeze_parameters(model, frozen_names(model, transfer.freeze))


def thaw(model: nn.Module, transfer: Transfer | None, step: int) -> None:
    """Free one more block, from the head down, every ``unfreeze_every`` steps; a function of the step alone."""
    if transfer is None or transfer.unfreeze_every is None or transfer.freeze == 0:
        return
    n_blocks = len(depths(model).blocks)
    first = n_blocks if transfer.freeze == "all but head" else transfer.freeze
    left = first - step // transfer.unfreeze_every
    names = frozen_names(model, left) if left > 0 else frozenset()
    if {name for name, p in model.named_parameters() if not p.requires_grad} != names:
        freeze_parameters(model, names)


def rate_share(model: nn.Module, transfer: Transfer | None) -> RateShare | None:
    """Each parameter's share of the job's rate: ``head_rate`` for the head, layer_decay ** height below it."""
    if transfer is None or (transfer.head_rate == 1.0 and transfer.layer_decay == 1.0):
        return None
    height = depths(model).from_head
    shares = {
        id(parameter): transfer.head_rate if height[name] == 0 else transfer.layer_decay ** height[name]
        for name, parameter in model.named_parameters()
    }
    return lambda parameter: shares[id(parameter)]
