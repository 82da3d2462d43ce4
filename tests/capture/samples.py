"""What users write: builders that work, and ones that do not."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Classifier(nn.Module):
    def __init__(self, inner: int = 8) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(inner, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


def build() -> nn.Module:
    return Classifier()


def build_mismatched() -> nn.Module:
    return Classifier(inner=9)


def build_sized(width: int, *, depth: int) -> nn.Module:
    return nn.Linear(width, depth)


def build_number() -> int:
    return 3


NOT_A_FUNCTION = 5


@torch.library.custom_op("samples::opaque", mutates_args=())
def opaque(x: Tensor) -> Tensor:
    """A kernel of the user's, with a gradient and without a fake."""
    return x.sin()


@torch.library.custom_op("samples::opaque_backward", mutates_args=())
def opaque_backward(gradient: Tensor, x: Tensor) -> Tensor:
    return gradient * x.cos()


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs)


opaque.register_autograd(lambda ctx, gradient: opaque_backward(gradient, ctx.saved_tensors[0]), setup_context=_setup)


class WithOpaque(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(opaque(self.first(x))).mean()


class Endless(nn.Module):
    """A loop that ends when the data says so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        while x.norm() > 1.0:
            x = self.layer(x)
        return x.mean()


class Chooses(nn.Module):
    """Trains on rows that a mask chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[x[:, 0] > 0]).square().mean()


class Codebook(nn.Module):
    """Takes the nearest code, through which nothing is differentiated, and measures by binary cross-entropy."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.codes, self.decoder = nn.Linear(64, 32), nn.Embedding(512, 32), nn.Linear(32, 64)

    def forward(self, x: Tensor) -> Tensor:
        z = self.encoder(x)
        nearest = self.codes(torch.cdist(z, self.codes.weight).argmin(-1))
        share = self.decoder(z + (nearest - z).detach()).sigmoid()
        return functional.binary_cross_entropy(share, x.sigmoid()) + functional.mse_loss(nearest, z.detach())


class Silent(nn.Module):
    """Returns nothing to learn from."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> str:
        self.layer(x)
        return "done"


class ReadsWhileBuilding(nn.Module):
    """Drop-path rates by ``.item()``, as many image models have."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 0.2, 3)]
        self.layers = nn.ModuleList([nn.Linear(200, 200) for _ in self.rates])

    def forward(self, x: Tensor) -> Tensor:
        for layer, rate in zip(self.layers, self.rates, strict=True):
            x = functional.dropout(layer(x), rate)
        return x.mean()


class ReadsValues(nn.Module):
    """Leaves torch and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        outside = torch.from_numpy(x.detach().numpy() * 2)
        return self.layer(outside + sum(x[0].tolist())).mean()


def build_failing() -> nn.Module:
    raise RuntimeError("no such device")


def build_lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(8))


class TwoParts(nn.Module):
    """Two losses a step, each with its own update."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def training_step(self, x: Tensor):  # type: ignore[no-untyped-def]
        y = self.first(x)
        yield self.second(y.detach()).square().mean(), self.second
        yield self.second(y).square().mean(), self.first


def build_two_parts() -> nn.Module:
    return TwoParts()
