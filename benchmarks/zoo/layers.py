"""Plain torch models of the zoo: perceptron, tied and frozen models, adapters, data-dependent control flow."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Perceptron(nn.Module):
    """Layers of one width with ReLU, a classifier's loss."""

    def __init__(self, width: int = 64, depth: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.body = nn.Sequential(*[nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)])
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Mean cross-entropy of (batch, width) against (batch,)."""
        return functional.cross_entropy(self.head(self.body(x)), label)


class TiedAutoencoder(nn.Module):
    """Encoder and decoder share one weight, which is thus used twice and counted once."""

    def __init__(self, width: int = 96, hidden: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Linear(width, hidden)
        self.mixer = nn.Linear(hidden, hidden)
        self.back = nn.Linear(hidden, hidden)
        self.back.weight = self.mixer.weight

    def forward(self, x: Tensor) -> Tensor:
        """Squared error of the reconstruction."""
        hidden = self.back(torch.tanh(self.mixer(torch.tanh(self.encoder(x)))))
        return functional.mse_loss(functional.linear(hidden, self.encoder.weight.t()), x)


class FrozenBackbone(nn.Module):
    """A head trained on features that are not: the backbone keeps nothing and has no backward."""

    def __init__(self, width: int = 64, depth: int = 4, classes: int = 7) -> None:
        super().__init__()
        self.backbone = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.backbone.requires_grad_(False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy of the head on frozen features."""
        for layer in self.backbone:
            x = torch.relu(layer(x))
        return functional.cross_entropy(self.head(x), label)


class LowRank(nn.Module):
    """W x + B A x with W frozen (LoRA, arXiv:2106.09685)."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The frozen product and the low-rank update."""
        return self.base(x) + self.up(self.down(x))


def with_adapters(model: nn.Module, rank: int = 4, names: tuple[str, ...] = ("q_proj", "v_proj")) -> nn.Module:
    """The model frozen, with low-rank updates beside the named linear layers."""
    model.requires_grad_(False)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if name in names and isinstance(child, nn.Linear):
                setattr(parent, name, LowRank(child, rank))
    return model


class EarlyExit(nn.Module):
    """Runs as many layers as the data asks for: a value decides in Python, so a trace must guess."""

    def __init__(self, width: int = 48, depth: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The mean output once the activations have settled, or all layers are done."""
        for layer in self.layers:
            change = torch.tanh(layer(x))
            x = x + change
            if not change.abs().mean() > 1e-3:
                break
        return self.head(x).mean()


class ChosenRows(nn.Module):
    """Trains on the rows that a mask selects: their number depends on data."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The squared mean over positive rows."""
        chosen = x[x[:, 0] > 0]
        return self.layer(chosen).square().mean()
