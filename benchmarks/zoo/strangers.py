"""Models that the cost model was not made with: written once it stood, to see how it does on what it never saw."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from benchmarks.zoo.table import Case, Entry
from torch import Tensor, nn
from torch.nn import functional


class CellLoop(nn.Module):
    """A recurrent cell called in a Python loop, and a classifier on its last state."""

    def __init__(self, cell: type[nn.GRUCell | nn.LSTMCell], inputs: int, width: int) -> None:
        super().__init__()
        self.cell, self.head, self.width = cell(inputs, width), nn.Linear(width, 10), width

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy after the last time step."""
        hidden = x.new_zeros(x.shape[0], self.width)
        state = (hidden, hidden)
        for now in x.unbind(1):
            if isinstance(self.cell, nn.GRUCell):
                hidden = self.cell(now, hidden)
            else:
                hidden, _ = state = self.cell(now, state)
        return functional.cross_entropy(self.head(hidden), labels)


class PlainConvolutions(nn.Module):
    """Three convolutions, each with a batch norm and a pool."""

    def __init__(self) -> None:
        super().__init__()
        steps = [
            (nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
            for a, b in pairwise((3, 32, 64, 128))
        ]
        self.features, self.head = nn.Sequential(*(m for step in steps for m in step)), nn.Linear(128 * 16, 10)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the classes."""
        return functional.cross_entropy(self.head(self.features(x).flatten(1)), labels)


class TorchEncoder(nn.Module):
    """torch's own TransformerEncoder, which names each token."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True, dropout=0.1)
        self.embed, self.head = nn.Embedding(1000, 256), nn.Linear(256, 1000)
        self.body = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of every token."""
        return functional.cross_entropy(self.head(self.body(self.embed(x))).flatten(0, 1), labels.flatten())


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class MixerBlock(nn.Module):
    """One MLP over the patches, one over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.patches = nn.LayerNorm(128), _mlp(64, 256)
        self.second, self.channels = nn.LayerNorm(128), _mlp(128, 512)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, patches, channels) to the same."""
        x = x + self.patches(self.first(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.second(x))


class Mixer(nn.Module):
    """MLP-Mixer (arXiv:2105.01601)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, 128, 8, 8), nn.Linear(128, 10)
        self.blocks = nn.ModuleList(MixerBlock() for _ in range(6))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the mean patch."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return functional.cross_entropy(self.head(x.mean(1)), labels)


class BothWays(nn.Module):
    """A bidirectional LSTM of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(500, 128), nn.Linear(512, 2)
        self.body = nn.LSTM(128, 256, bidirectional=True, batch_first=True, num_layers=2)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the mean state."""
        return functional.cross_entropy(self.head(self.body(self.embed(x))[0].mean(1)), labels)


def _entry(name: str, build: Callable[[], nn.Module], x: str, labels: str, batch: int) -> Entry:
    case = Case(build=build, inputs=(x, labels), batch=batch)
    return Entry(name=name, toy=case, timed=case)


STRANGERS: tuple[Entry, ...] = (
    _entry("gru-cell", lambda: CellLoop(nn.GRUCell, 64, 128), "float32[batch,20,64]", "int64[batch]<10", 64),
    _entry("lstm-cell", lambda: CellLoop(nn.LSTMCell, 128, 256), "float32[batch,30,128]", "int64[batch]<10", 32),
    _entry("convolutions", PlainConvolutions, "float32[batch,3,32,32]", "int64[batch]<10", 64),
    _entry("encoder", TorchEncoder, "int64[batch,64]<1000", "int64[batch,64]<1000", 16),
    _entry("mixer", Mixer, "float32[batch,3,64,64]", "int64[batch]<10", 32),
    _entry("bi-lstm", BothWays, "int64[batch,50]<500", "int64[batch]<2", 32),
)
