"""A model from its input to its head: which parameters lie at which depth, and which of them stand still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from trainwright.errors import InvalidInputError
from trainwright.runtime.model import set_training


@dataclass(frozen=True, slots=True, kw_only=True)
class Depths:
    """Parameter names of the stem, of each block in order, and of the head; together all of them."""

    stem: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    head: tuple[str, ...]

    @property
    def from_head(self) -> Mapping[str, int]:
        """How many blocks above the head a parameter lies; the head's are 0, the stem's furthest."""
        found = dict.fromkeys(self.head, 0)
        for height, names in enumerate(reversed((self.stem, *self.blocks)), start=1):
            found |= dict.fromkeys(names, height)
        return found


def depths(model: nn.Module) -> Depths:
    """Blocks are what the first number in a parameter's name tells apart; the head is the last linear layer.

    What has no number belongs to the stem before the first block, and to the last block after it.
    """
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise InvalidInputError("the model has no linear layer to serve as its head", hint="end it with nn.Linear")
    stem: list[str] = []
    blocks: dict[str, list[str]] = {}
    head: list[str] = []
    for name, _ in model.named_parameters():
        if name.startswith(f"{linears[-1]}."):
            head.append(name)
            continue
        parts = name.split(".")
        number = next((place for place, part in enumerate(parts) if part.isdigit()), None)
        if number is not None:
            blocks.setdefault(".".join(parts[: number + 1]), []).append(name)
        elif blocks:
            next(reversed(blocks.values())).append(name)
        else:
            stem.append(name)
    return Depths(stem=tuple(stem), blocks=tuple(tuple(names) for names in blocks.values()), head=tuple(head))


def frozen_names(model: nn.Module, freeze: int | Literal["all but head"]) -> frozenset[str]:
    """The parameters of the stem and of the first ``freeze`` blocks; 0 freezes nothing."""
    found = depths(model)
    n_blocks = len(found.blocks)
    if freeze == 0:
        return frozenset()
    count = n_blocks if freeze == "all but head" else freeze
    if count > n_blocks:
        raise InvalidInputError(
            f"transfer.freeze = {count}, and the model has {n_blocks} blocks",
            hint=f'use at most {n_blocks}, which is the same as "all but head"',
        )
    return frozenset((*found.stem, *(name for names in found.blocks[:count] for name in names)))


def freeze_parameters(model: nn.Module, names: frozenset[str]) -> None:
    """Let exactly these stand still; they get no gradient, and what is below keeps nothing for backward."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in names)
        if name in names:
            parameter.grad = None
    set_training(model)
