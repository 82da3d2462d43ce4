"""Start from a trained model: features copied, head rows reused by label name, blocks frozen, rates by depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from trainwright.data.start import Start, read_start
from trainwright.errors import InvalidInputError
from trainwright.jobs.job import Transfer
from trainwright.runtime.depth import depths, freeze_parameters, frozen_names
from trainwright.runtime.hollow import hollow
from trainwright.runtime.model import build_model
from trainwright.runtime.weights import open_folder, shapes_of, weights_of
from trainwright.train.labels import How, matched_rows
from trainwright.train.lora import adapt, moves
from trainwright.train.optimizer import RateShare


def check_start(config: Mapping[str, Any], classes: Sequence[str], transfer: Transfer) -> None:
    """Refuse what take_start and freezing would refuse, by names and shapes alone: no tensor is read or drawn."""
    start = read_start(transfer.start)
    with hollow():
        model = build_model(dict(config), 0)
    shapes, head = shapes_of(open_folder(start.folder, model)), frozenset(depths(model).head)
    _refuse_unlike(model, head, shapes, start)
    _rows(shapes, head, (start, classes, transfer))
    if transfer.lora_rank is not None:
        adapt(model, transfer.lora_rank, seed=0)
    freeze_for(model, transfer)


def take_start(model: nn.Module, start: Start, classes: Sequence[str], transfer: Transfer) -> list[str]:
    """Copy the start's weights into the model; returns sentences that say what was taken and what was drawn.

    Everything but the head must be there with the same name and shape. Raises InvalidInputError naming the first tensor
    that differs, or a head whose rows are not the start's classes.
    """
    weights = weights_of(open_folder(start.folder, model), model)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    head, mine = frozenset(depths(model).head), model.state_dict()
    _refuse_unlike(model, head, shapes, start)
    rows = _rows(shapes, head, (start, classes, transfer))
    with torch.no_grad():
        for name, tensor in mine.items():
            if name not in head:
                tensor.copy_(weights[name])
        for name in head:
            for number, (row, _) in rows.items():
                mine[name][number] = weights[name][row]
    return [f"{len(mine) - len(head)} tensors copied from {start.folder}", *_told(rows, start, classes)]


Shapes = Mapping[str, tuple[int, ...] | None]
"""Of a folder's tensors, by the names of the model's parameters; None where it is not known before they are read."""


def _refuse_unlike(model: nn.Module, head: frozenset[str], theirs: Shapes, start: Start) -> None:
    """Everything but the rows of the head must be there, with the same shape."""
    for name, tensor in model.state_dict().items():
        if name in theirs and (theirs[name] is None or theirs[name] == tuple(tensor.shape)):
            continue
        if name in head and _below_rows(theirs.get(name)) in (None, tuple(tensor.shape[1:])):
            continue
        there = f"is {list(theirs[name] or ())} there" if name in theirs else "is not there"
        raise InvalidInputError(
            f"{start.folder} is of another architecture: {name} is {list(tensor.shape)} here and {there}",
            hint=f"leave [model] out and take the start's{_own_form(start)}, or start from another folder",
        )


def _below_rows(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if shape is None else shape[1:]


def _own_form(start: Start) -> str:
    """The size and channels of the start's images, which a job that leaves them out gets."""
    said = {"size": start.size, "channels": start.channels}
    return "".join(f", data.{name} = {value}" for name, value in said.items() if value is not None)


def _rows(
    theirs: Shapes, head: frozenset[str], what: tuple[Start, Sequence[str], Transfer]
) -> dict[int, tuple[int, How]]:
    """Which of the start's rows serve which of the classes; none where the start has no head, or none is wanted."""
    start, classes, transfer = what
    has_head = bool(head) and head <= theirs.keys()
    if not (has_head and transfer.reuse_rows and start.classes):
        return {}
    for name in sorted(head):
        shape = theirs[name]
        if shape is not None and shape[0] != len(start.classes):
            raise InvalidInputError(
                f"{start.folder}: the head's {name} has {shape[0]} rows and there are {len(start.classes)} class names",
                hint="correct the folder's class names, or set transfer.reuse_rows = false",
            )
    return matched_rows(start.classes, classes, transfer.synonyms)


def _told(rows: Mapping[int, tuple[int, How]], start: Start, classes: Sequence[str]) -> list[str]:
    if not rows:
        return [f"head: all {len(classes)} rows drawn at random"]
    drawn = [name for number, name in enumerate(classes) if number not in rows]
    reused = [f"{classes[n]} from {start.classes[row]} ({how})" for n, (row, how) in rows.items()]
    lines = [f"head: {len(rows)} of {len(classes)} rows reused: {', '.join(reused)}"]
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


def settled_at(model: nn.Module, transfer: Transfer | None, n_steps: int | None) -> int:
    """From which step on ``thaw`` frees nothing more in a run of so many: the state that is priced and measured."""
    if transfer is None or transfer.unfreeze_every is None or transfer.freeze == 0:
        return 0
    n_frozen = len(depths(model).blocks) if transfer.freeze == "all but head" else transfer.freeze
    every = transfer.unfreeze_every
    return every * (n_frozen if n_steps is None else min(n_frozen, max(n_steps - 1, 0) // every))


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
