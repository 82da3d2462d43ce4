"""Operands and results as a training step has them: others each time, cut from memory that was touched long ago."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from trainwright.hardware.device import FOOTPRINTS

CPU_BYTES = 2**23
GPU_BYTES = 2**28
"""Memory that operands of a dtype are cut from, and twice what results are kept: what a few ops of a step touch."""
FAR_BYTES = 2**26
"""The same for what a step last touched a whole step ago: weights in the dtype they are kept in."""
BLOCK = 2**18
"""So many numbers are drawn at random and repeated: drawing takes ten times as long as copying."""
MOST_OPERANDS = 6

Operand = tuple[tuple[int, ...], torch.dtype]
"""Shape and dtype."""


@dataclass(slots=True)
class Arena:
    """Numbers between 0.1 and 1.1 that operands are cut from, one behind the other, round and round.

    What was cut last is thus not in a cache any more when the turn comes to it again, as in a step. Results stay until
    half as many bytes of later ones are there, so that the next is not written over the last.
    """

    device: str
    n_bytes: int = 0
    flats: dict[torch.dtype, Tensor] = field(default_factory=dict)
    ends: dict[torch.dtype, int] = field(default_factory=dict)
    kept: deque[tuple[Tensor, int]] = field(default_factory=deque)
    kept_bytes: int = 0

    def __post_init__(self) -> None:
        self.n_bytes = self.n_bytes or (CPU_BYTES if self.device == "cpu" else GPU_BYTES)

    def cut(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """The next part of the arena as a tensor of this shape."""
        n = prod(shape)
        flat = self.flats.get(dtype)
        if flat is None or flat.numel() < n:
            size = max(self.n_bytes // dtype.itemsize, n)
            block = torch.rand(BLOCK, device=self.device).add_(0.1).to(dtype)
            flat = self.flats[dtype] = block.repeat(-(-size // BLOCK))
        begin = self.ends.get(dtype, 0)
        begin = begin if begin + n <= flat.numel() else 0
        self.ends[dtype] = begin + (n + 63) // 64 * 64
        return flat[begin : begin + n].view(shape)

    def keep(self, result: Tensor) -> None:
        """Hold a result for a while."""
        self.kept.append((result, result.nbytes))
        self.kept_bytes += result.nbytes
        while self.kept_bytes > self.n_bytes // 2 and len(self.kept) > 1:
            self.kept_bytes -= self.kept.popleft()[1]

    def fill(self) -> None:
        """Keep as much as will ever be kept, so that later results find its pages: a page's first use takes long."""
        for _ in range(self.n_bytes // 2 // CPU_BYTES):
            self.keep(torch.ones(CPU_BYTES // 4, device=self.device))

    def pool(self, work: Callable[..., Tensor], *operands: Operand) -> Pool:
        """``work`` on operands of these shapes, others each time."""
        return self.pool_of(work, lambda: tuple(self.cut(shape, dtype) for shape, dtype in operands))

    def pool_of(self, work: Callable[..., Tensor], make: Callable[[], tuple[Tensor, ...]]) -> Pool:
        """``work`` on what ``make`` gives, other operands each time."""
        first = make()
        n = max(2, min(MOST_OPERANDS, self.n_bytes // max(each.nbytes for each in first)))
        return Pool(work=work, operands=[first, *(make() for _ in range(n - 1))], keep=self.keep)


@dataclass(slots=True)
class Pool:
    """Calls ``work`` on the next of its operands and keeps the result a while."""

    work: Callable[..., Tensor]
    operands: Sequence[tuple[Tensor, ...]]
    keep: Callable[[Tensor], None]
    position: int = 0

    def __call__(self) -> None:
        """One call of the work."""
        self.position = (self.position + 1) % len(self.operands)
        self.keep(self.work(*self.operands[self.position]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the tensors of a step lie: those made a few ops ago, those kept since forward or the last step, and, on a
    CPU, the results of a step that goes over much.
    """

    near: Arena
    kept: Arena
    large: Arena | None = None


def places(device: str, *, with_large_step: bool) -> Places:
    """Fresh ones for a device."""
    near = Arena(device=device)
    large = Arena(device=device, n_bytes=int(FOOTPRINTS[1])) if with_large_step else None
    if large is not None:
        large.fill()
    return Places(near=near, kept=Arena(device=device, n_bytes=max(FAR_BYTES, near.n_bytes)), large=large)
