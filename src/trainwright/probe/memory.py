"""Streams: bytes per second of elementwise ops by size, and elements per second of exp and the like."""

from __future__ import annotations

import torch

from trainwright.probe.clock import Clock
from trainwright.probe.pool import Arena
from trainwright.probe.samples import StreamSample

CPU_TENSOR_BYTES = (2**14, 2**17, 2**19, 2**21, 2**22, 2**23, 2**24, 2**25)
GPU_TENSOR_BYTES = (2**16, 2**20, 2**22, 2**24, 2**26, 2**28, 2**30)


def measure_streams(clock: Clock, arena: Arena) -> tuple[StreamSample, ...]:
    """Every size."""
    sizes = CPU_TENSOR_BYTES if arena.device == "cpu" else GPU_TENSOR_BYTES
    pools = [arena.pool(torch.mul, *[((size // 4,), torch.float32)] * 2) for size in sizes]
    return tuple(
        StreamSample(touched_bytes=3.0 * size, seconds=timing.calm_s)
        for size, timing in zip(sizes, clock.in_turn(pools), strict=True)
    )


def exp_per_s(clock: Clock, device: str) -> float:
    """Elements per second of SiLU, from a cache: the exponential and all around it, since both run in one loop."""
    n_elements = 2**20 if device == "cpu" else 2**26
    x = torch.randn(n_elements, device=device)
    return n_elements / clock.time(lambda: torch.nn.functional.silu(x)).calm_s
