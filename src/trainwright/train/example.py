"""The task of a job that makes its inputs up: whatever a module takes, drawn anew in every step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from trainwright.capture.inputs import example_of
from trainwright.jobs.inputs import Input
from trainwright.runtime.own import Drawn, Sample
from trainwright.train.task import Rows, Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleTask:
    """Inputs of the described shapes: floats from a normal distribution, whole numbers below their bound.

    They are drawn a micro-batch at a time, since nobody knows which of their dimensions hold the samples; so unlike
    text and images they depend on how many processes share the batch.
    """

    inputs: tuple[Input, ...]
    global_batch: int
    seq: int
    seed: int
    counts_hits: bool = False
    has_held_out: bool = False

    @property
    def per_step(self) -> int:
        """Samples of one global batch."""
        return self.global_batch

    @property
    def identity(self) -> Mapping[str, int]:
        """What makes the draws."""
        return {"seed": self.seed, "global_batch": self.global_batch, "seq": self.seq}

    def rows(self, step: int, index: int, n_replicas: int) -> Rows:
        """This replica's rows; the module knows its own targets."""
        n_rows = self.global_batch // n_replicas
        return Drawn(n_rows=n_rows, make=partial(self.made, step, index)), torch.zeros(n_rows)

    def made(self, step: int, replica: int, index: int, n_rows: int) -> Sample:
        """One micro-batch of one step."""
        generator = torch.Generator().manual_seed(hash((self.seed, step, replica, index)) % 2**63)
        return Sample(values=example_of(self.inputs, n_rows, self.seq, "cpu", generator), n_rows=n_rows)

    def held_out(self, index: int, n_replicas: int, at_once: int) -> Iterator[Shown]:
        """Nothing."""
        yield from ()

    def sources(self, step: int) -> list[str]:
        """How to draw them again."""
        return [f"inputs drawn with seed {self.seed} for step {step}"]
