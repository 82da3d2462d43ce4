"""Streams: bytes per second of elementwise ops by size, and elements per second of exp and the like."""

from __future__ import annotations

import torch

from trainwright.probe.clock import Clock
from trainwright.probe.pool import Pool
from trainwright.probe.samples import StreamSample

CPU_TENSOR_BYTES = (2**14, 2**17, 2**19, 2**21, 2**22, 2**23, 2**24, 2**25, 2**26)
GPU_TENSOR_BYTES = (2**16, 2**20, 2**22, 2**24, 2**26, 2**28, 2**30)


def measure_streams(clock: Clock, device: str) -> tuple[StreamSample, ...]:
    """Every size."""
    sizes = CPU_TENSOR_BYTES if device == "cpu" else GPU_TENSOR_BYTES
    return tuple(_stream(clock, device, size) for size in sizes)


def _stream(clock: Clock, device: str, tensor_bytes: int) -> StreamSample:
    factor = torch.ones(tensor_bytes // 4, device=device)
    pool = Pool.of(lambda x: x * factor, torch.ones_like(factor), tensor_bytes)
    return StreamSample(touched_bytes=3.0 * tensor_bytes, seconds=clock.time(pool).calm_s)


def exp_per_s(clock: Clock, device: str) -> float:
    """Elements per second of SiLU, from a cache: the exponential and all around it, since both run in one loop."""
    n_elements = 2**20 if device == "cpu" else 2**26
    x = torch.randn(n_elements, device=device)
    return n_elements / clock.time(lambda: torch.nn.functional.silu(x)).calm_s
