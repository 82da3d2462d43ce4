"""One small net of each kind the notes compare, in its plainest form, built for inputs of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from trainwright.recipes.cnn import SmallCnn

WIDTH = 64
N_WORDS = 256


class Recurrent(nn.Module):
    """A recurrent language model: embedding, an LSTM, a head (Hochreiter and Schmidhuber, 1997)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(N_WORDS, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, N_WORDS)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch, seq, words]."""
        logits: Tensor = self.head(self.lstm(self.embedding(ids))[0])
        return logits


class SelfAttention(nn.Module):
    """A Transformer block: causal attention of four heads, then an MLP, each added to its input (arXiv:1706.03762)."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, seq, width] to the same."""
        parts = self.qkv(self.norms[0](x)).unflatten(-1, (3, 4, WIDTH // 4)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        added: Tensor = x + self.mlp(self.norms[1](x))
        return added


class Transformer(nn.Module):
    """A decoder of two blocks over words."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(N_WORDS, WIDTH), nn.Linear(WIDTH, N_WORDS)
        self.blocks = nn.ModuleList([SelfAttention() for _ in range(2)])

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch, seq, words]."""
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits


def _down() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, WIDTH, 4, 2, 1), nn.ReLU())


def _up() -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(WIDTH, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 3, 4, 2, 1))


class Autoencoder(nn.Module):
    """Convolutions down to a code, and up to the image again (Hinton and Salakhutdinov, 2006)."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = _down(), _up()

    def forward(self, images: Tensor) -> Tensor:
        """The squared error of the image made again."""
        error: Tensor = (self.up(self.down(images)) - images).square().mean()
        return error


class Gan(nn.Module):
    """A generator and a discriminator, trained in turn (arXiv:1406.2661); noise has a quarter of the image's side."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = _up(), nn.Sequential(_down(), nn.Conv2d(WIDTH, 1, 1))

    def training_step(self, real: Tensor) -> Iterator[tuple[Tensor, nn.Module]]:
        """The discriminator's loss, then the generator's."""
        side = real.shape[-1] // 4
        made = self.generator(torch.randn(len(real), WIDTH, side, side, device=real.device))
        told = functional.softplus(-self.discriminator(real)).mean()
        yield told + functional.softplus(self.discriminator(made.detach())).mean(), self.discriminator
        yield functional.softplus(-self.discriminator(made)).mean(), self.generator


class Boltzmann(nn.Module):
    """A restricted Boltzmann machine; one step of contrastive divergence (Hinton, 2002)."""

    def __init__(self, visible: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(hidden, visible))
        self.seen, self.unseen = nn.Parameter(torch.zeros(visible)), nn.Parameter(torch.zeros(hidden))

    def up(self, v: Tensor) -> Tensor:
        """Chances of the hidden units."""
        return torch.sigmoid(functional.linear(v, self.weight, self.unseen))

    def energy(self, v: Tensor) -> Tensor:
        """Mean free energy of visible states."""
        return -(functional.softplus(functional.linear(v, self.weight, self.unseen)).sum(1) + v @ self.seen).mean()

    def contrast(self, v: Tensor) -> Tensor:
        """Free energy of the data less that of what the machine makes of it."""
        with torch.no_grad():
            again = torch.sigmoid(functional.linear(torch.bernoulli(self.up(v)), self.weight.t(), self.seen))
        return self.energy(v) - self.energy(again)


class DeepBelief(nn.Module):
    """Boltzmann machines, each trained on what the one below makes of the data (Hinton, Osindero and Teh, 2006)."""

    def __init__(self, visible: int) -> None:
        super().__init__()
        self.machines = nn.ModuleList([Boltzmann(a, b) for a, b in pairwise((visible, 4 * WIDTH, WIDTH))])

    def training_step(self, v: Tensor) -> Iterator[tuple[Tensor, nn.Module]]:
        """One loss for each machine, from the lowest up."""
        for machine in self.machines:
            assert isinstance(machine, Boltzmann)
            yield machine.contrast(v), machine
            with torch.no_grad():
                v = machine.up(v)


class Graph(nn.Module):
    """Two graph convolutions, the mean of what neighbours send, and a class for each node (arXiv:1609.02907)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)])
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Nodes [n, width] and edges [2, m] to logits [n, classes]."""
        n_in = torch.zeros(len(x), 1, device=x.device).index_add(0, edges[1], torch.ones_like(x[edges[1], :1]))
        for layer in self.layers:
            sent = layer(x)[edges[0]]
            x = torch.relu(torch.zeros_like(x).index_add(0, edges[1], sent) / n_in.clamp(min=1))
        logits: Tensor = self.head(x)
        return logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of net: what it is for, how to build it for n input positions, and its inputs as capture reads them.

    In ``inputs`` n, and side = the root of n, stand in braces.
    """

    name: str
    purpose: str
    build: Callable[[int], nn.Module]
    inputs: tuple[str, ...]
    counts: str


_IMAGE = ("float32[batch,3,{side},{side}]",)
_WORDS = ("int64[batch,{n}]<256",)
_NODES = ("float32[{n}*batch,64]", "int64[2,{edges}*batch]<{n}")
"""Four edges a node."""

KINDS = (
    Kind(name="CNN", purpose="images", build=lambda _: SmallCnn(10), inputs=_IMAGE, counts="pixels"),
    Kind(name="RNN", purpose="sequences, in order", build=lambda _: Recurrent(), inputs=_WORDS, counts="words"),
    Kind(
        name="Transformer", purpose="sequences, all pairs", build=lambda _: Transformer(), inputs=_WORDS, counts="words"
    ),
    Kind(name="autoencoder", purpose="codes, no labels", build=lambda _: Autoencoder(), inputs=_IMAGE, counts="pixels"),
    Kind(name="GAN", purpose="new images", build=lambda _: Gan(), inputs=_IMAGE, counts="pixels"),
    Kind(name="DBN", purpose="layer by layer", build=DeepBelief, inputs=("float32[batch,{n}]",), counts="units"),
    Kind(name="GNN", purpose="graphs, along edges", build=lambda _: Graph(), inputs=_NODES, counts="nodes"),
)
"""Every kind is measured at the same numbers of positions."""
