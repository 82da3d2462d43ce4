"""Low-rank updates of frozen weights (Hu et al., arXiv:2106.09685): W + (alpha / r) B A, with W standing still.

Our own few lines and not peft: convolutions, capture on meta, and merged weights that any reader of the plain model
takes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainwright.errors import InvalidInputError
from trainwright.runtime.depth import depths

ALPHA_PER_RANK = 2.0
"""alpha / r: the usual alpha of twice the rank."""
MARK = ".lora_"


class Adapted(nn.Module):
    """A linear layer or a convolution beside its low-rank update; ``lora_b`` begins at 0, so that nothing changes.

    Of a convolution, A is one to ``rank`` channels with the same window, B the 1 x 1 convolution after it.
    """

    def __init__(self, base: nn.Linear | nn.Conv2d, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        weight = base.weight
        self.base, self.is_linear = base, isinstance(base, nn.Linear)
        inner, window = weight.shape[1:].numel(), weight.shape[1:]
        drawn = torch.empty(rank, *window, device=weight.device)
        if not weight.is_meta:
            drawn.normal_(std=inner**-0.5, generator=generator)
        self.lora_a = nn.Parameter(drawn)
        self.lora_b = nn.Parameter(torch.zeros(len(weight), rank, *(1 for _ in window[1:]), device=weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """What the layer gives, and the update's share."""
        if isinstance(self.base, nn.Linear):
            update = nn.functional.linear(nn.functional.linear(x, self.lora_a), self.lora_b)
        else:
            low = nn.functional.conv2d(x, self.lora_a, None, self.base.stride, self.base.padding, self.base.dilation)
            update = nn.functional.conv2d(low, self.lora_b)
        added: Tensor = self.base(x) + ALPHA_PER_RANK * update
        return added

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """The layer with the update in its weight."""
        change = self.lora_b.flatten(1) @ self.lora_a.flatten(1)
        self.base.weight.add_(change.reshape(self.base.weight.shape), alpha=ALPHA_PER_RANK)
        return self.base


def adapt(model: nn.Module, rank: int, seed: int) -> list[str]:
    """Put updates beside all linear layers and convolutions but the head, and let all else but the head stand still.

    Returns what the user should hear. Convolutions in groups keep as they are.
    """
    head = {name.rpartition(".")[0] for name in depths(model).head}
    generator = torch.Generator().manual_seed(seed)
    chosen = [
        (name, module)
        for name, module in model.named_modules()
        if (isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1))
        and name not in head
        and min(len(module.weight), module.weight.shape[1:].numel()) > rank
    ]
    if not chosen:
        raise InvalidInputError(
            f"no layer below the head is wider than transfer.lora_rank = {rank}", hint="choose a smaller rank"
        )
    for name, module in chosen:
        _replace(model, name, Adapted(module, rank, generator))
    n_moving = sum(p.numel() for name, p in model.named_parameters() if MARK in f".{name}")
    return [f"lora: updates of rank {rank} beside {len(chosen)} layers, {n_moving:,} parameters"]


def moves(name: str) -> bool:
    """Whether a parameter belongs to an update."""
    return MARK in f".{name}"


def merge(model: nn.Module) -> None:
    """Put every update into the weight it stands beside; the model is then as it was built."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Adapted):
            _replace(model, name, module.merged())


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
