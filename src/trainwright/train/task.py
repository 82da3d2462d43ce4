"""What a run learns from: the one loop trains whatever can say what a step's rows are and what they should become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from torch import Tensor

from trainwright.runtime.own import Drawn

Rows = tuple[Tensor | Drawn, Tensor]
"""Inputs as the model takes them, and targets: class or token numbers, or shares of the classes (floats)."""
Shown = tuple[Tensor, Tensor]
"""The same, of held-out data."""


class Task(Protocol):
    """Data as the loop sees it. A step's rows depend on the step alone, whatever the mesh or the restarts.

    ``per_step``: targets (tokens, images) that one optimizer step learns from, over all processes. ``identity`` is
    what a checkpoint must agree on to go on.
    """

    @property
    def per_step(self) -> int:
        """Targets of one global batch."""

    @property
    def has_held_out(self) -> bool:
        """Whether there is anything to check on."""

    @property
    def identity(self) -> Mapping[str, int]:
        """Seed, batch and sizes that make the order of the data."""

    @property
    def counts_hits(self) -> bool:
        """Whether checks count how often the likeliest answer is the right one."""

    def rows(self, step: int, index: int, n_replicas: int) -> Rows:
        """This replica's rows of the step's global batch."""

    def held_out(self, index: int, n_replicas: int, at_once: int) -> Iterator[Shown]:
        """This replica's share of the held-out data, ``at_once`` rows at a time."""

    def sources(self, step: int) -> list[str]:
        """Where the step's rows came from, for people."""
