"""Recurrent language models (LSTM: Hochreiter and Schmidhuber 1997; GRU: arXiv:1406.1078)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional


class RecurrentLanguageModel(nn.Module):
    """Embedding, recurrent layers, a head over the vocabulary."""

    def __init__(self, kind: Literal["lstm", "gru"], vocabulary: int = 200, width: int = 48, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        cell = nn.LSTM if kind == "lstm" else nn.GRU
        self.recurrent = cell(width, width, num_layers=layers, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        """Mean cross-entropy of each token given those before it."""
        states, _ = self.recurrent(self.embedding(ids))
        logits = self.head(states[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
