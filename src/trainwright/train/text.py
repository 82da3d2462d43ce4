"""The text task: windows of tokens, each to be continued by the token after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from trainwright.data.order import Order, held_out_starts, windows
from trainwright.data.tokens import Tokens
from trainwright.train.task import Rows, Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTask:
    """Next-token prediction over a token stream."""

    tokens: Tokens
    order: Order
    counts_hits: bool = False

    @property
    def per_step(self) -> int:
        """Tokens of one global batch."""
        return self.order.global_batch * self.order.seq

    @property
    def has_held_out(self) -> bool:
        """Whether text was held out."""
        return len(self.tokens.held_out) > 0

    @property
    def identity(self) -> Mapping[str, int]:
        """What makes the order of the windows."""
        return {"seed": self.order.seed, "global_batch": self.order.global_batch, "seq": self.order.seq}

    def rows(self, step: int, index: int, n_replicas: int) -> Rows:
        """This replica's windows, [rows, seq], and the tokens after each position."""
        starts = np.array_split(self.order.starts(step), n_replicas)[index]
        ids = torch.from_numpy(windows(self.tokens.train, starts, self.order.seq))
        return ids[:, :-1], ids[:, 1:]

    def held_out(self, index: int, n_replicas: int, at_once: int) -> Iterator[Shown]:
        """This replica's share of the held-out windows."""
        starts = held_out_starts(len(self.tokens.held_out), self.order.seq)[index::n_replicas]
        for begin in range(0, len(starts), at_once):
            ids = torch.from_numpy(windows(self.tokens.held_out, starts[begin : begin + at_once], self.order.seq))
            yield ids[:, :-1], ids[:, 1:]

    def sources(self, step: int) -> list[str]:
        """Names of the documents that the step's windows were cut from."""
        return list(dict.fromkeys(self.tokens.document_at(int(start)) for start in self.order.starts(step)))
