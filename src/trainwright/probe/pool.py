"""Operands as a training step has them: many of a kind in turn, so that a cache holds only what a step's would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

POOL_BYTES = 2**26
MOST_OPERANDS = 64


@dataclass(slots=True)
class Pool:
    """Calls ``work`` on the next of its operands and keeps the result until its turn comes again.

    As many operands as fit in POOL_BYTES, at most MOST_OPERANDS: a step over tensors of this size touches about as
    many before it comes back to one, whatever the size.
    """

    work: Callable[[torch.Tensor], torch.Tensor]
    operands: list[torch.Tensor]
    results: list[torch.Tensor | None] = field(default_factory=list)
    position: int = 0

    @classmethod
    def of(cls, work: Callable[[torch.Tensor], torch.Tensor], operand: torch.Tensor, result_bytes: int = 0) -> Pool:
        """A pool of copies of one operand, with room for the results that the process has touched already."""
        each = operand.numel() * operand.element_size() + result_bytes
        n = max(1, min(MOST_OPERANDS, POOL_BYTES // max(each, 1)))
        operands = [operand, *(operand.clone() for _ in range(n - 1))]
        torch.zeros(n * result_bytes, dtype=torch.uint8, device=operand.device)
        return cls(work=work, operands=operands, results=[None] * n)

    def __call__(self) -> None:
        """One call of the work."""
        self.position = (self.position + 1) % len(self.operands)
        self.results[self.position] = None
        self.results[self.position] = self.work(self.operands[self.position])
