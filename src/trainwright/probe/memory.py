"""Streams: bytes per second of elementwise ops by size, and elements per second of exp and the like."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainwright.probe.clock import Clock
from trainwright.probe.pool import Arena, Places
from trainwright.probe.samples import StreamSample

CPU_TENSOR_BYTES = (2**14, 2**17, 2**19, 2**21, 2**22, 2**23, 2**25)
GPU_TENSOR_BYTES = (2**16, 2**20, 2**22, 2**24, 2**26, 2**28, 2**30)


FAR_TENSORS = (2**19, 2**23)
"""Smaller ones are mostly calls, and larger ones a large step by themselves."""
ON_TWO = (torch.add, torch.sub, torch.mul, torch.maximum)
ON_ONE = (torch.neg, torch.abs, torch.square, torch.frac)


def measure_streams(clock: Clock, at: Places) -> tuple[StreamSample, ...]:
    """Every size: the median of four kinds in turn. Among large ones a small one would find nothing in the caches."""
    sizes = CPU_TENSOR_BYTES if at.near.device == "cpu" else GPU_TENSOR_BYTES
    return tuple(_stream(clock, at, size // 4) for size in sizes)


def _stream(clock: Clock, at: Places, n: int) -> StreamSample:
    """One operand was made a few ops ago, the other is kept since long, as in a backward. In a large step results are
    written where nothing was touched for long; half of its kernels read one tensor, and take as long for fewer bytes.
    """

    def in_turn(step: Arena, works: Sequence[Callable[..., Tensor]], n_operands: int) -> float:
        def operands() -> tuple[Tensor, ...]:
            return (at.near.cut((n,)), at.kept.cut((n,)))[:n_operands]

        return statistics.median(timing.calm_s for timing in clock.in_turn([step.pool_of(w, operands) for w in works]))

    small_s = far_s = in_turn(at.near, ON_TWO, 2)
    if at.large is not None and FAR_TENSORS[0] <= 4 * n <= FAR_TENSORS[1]:
        far_s = (in_turn(at.large, ON_TWO, 2) + 1.5 * in_turn(at.large, ON_ONE, 1)) / 2.0
    one, other = torch.ones(2, n, device=at.near.device)
    near_s = clock.time(lambda: torch.mul(one, other)).calm_s
    return StreamSample(touched_bytes=12.0 * n, seconds=small_s, far_s=max(small_s, far_s), near_s=min(near_s, small_s))


def exp_per_s(clock: Clock, device: str) -> float:
    """Elements per second of SiLU, from a cache: the exponential and all around it, since both run in one loop."""
    n_elements = 2**20 if device == "cpu" else 2**26
    x = torch.randn(n_elements, device=device)
    return n_elements / clock.time(lambda: torch.nn.functional.silu(x)).calm_s
