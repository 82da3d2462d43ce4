"""Matrix products: seconds by dtype and shape, in the three layouts of a linear layer's training step."""

from __future__ import annotations

from typing import Literal

import torch

from trainwright.probe.clock import Clock
from trainwright.probe.pool import Pool
from trainwright.probe.samples import MatmulSample

Layout = Literal["forward", "input_gradient", "weight_gradient"]
TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

CPU_SHAPES = (
    (2048, 256, 256), (1024, 512, 192), (1024, 128, 128), (512, 1024, 256), (256, 256, 2048), (64, 512, 512),
    (1024, 32, 512), (1024, 512, 32), (256, 2048, 256), (16, 256, 256), (256, 64, 64), (16, 768, 256), (768, 256, 16),
    (32, 1024, 1024),
)  # fmt: skip
"""(m, n, k), small enough for a core: 2 to 270 MFLOP."""
GPU_SHAPES = tuple(tuple(16 * side for side in shape) for shape in CPU_SHAPES)


def measure_matmuls(clock: Clock, device: str, dtypes: tuple[str, ...]) -> list[MatmulSample]:
    """Every shape in every dtype: forward, and the two gradients for the first three shapes."""
    shapes = CPU_SHAPES if device == "cpu" else GPU_SHAPES
    samples = []
    for dtype in dtypes:
        for i, (m, n, k) in enumerate(shapes):
            layouts: tuple[Layout, ...] = ("forward", "input_gradient", "weight_gradient") if i < 3 else ("forward",)
            samples += [_measure(clock, device, dtype, (m, n, k), layout) for layout in layouts]
    return samples


def _measure(clock: Clock, device: str, dtype: str, shape: tuple[int, int, int], layout: Layout) -> MatmulSample:
    """``shape`` is of the forward; the sample's shape is of the product that was done."""
    m, n, k = shape
    kind = TORCH_DTYPES[dtype]
    x_mk = torch.randn(m, k, device=device).to(kind)
    weight_nk = torch.randn(n, k, device=device).to(kind)
    gradient_mn = torch.randn(m, n, device=device).to(kind)
    size = kind.itemsize
    if layout == "forward":
        pool, done = Pool.of(lambda x: x @ weight_nk.t(), x_mk, m * n * size), (m, n, k)
    elif layout == "input_gradient":
        pool, done = Pool.of(lambda gradient: gradient @ weight_nk, gradient_mn, m * k * size), (m, k, n)
    else:
        pool, done = Pool.of(lambda x: gradient_mn.t() @ x, x_mk, n * k * size), (n, k, m)
    timing = clock.time(pool)
    return MatmulSample(dtype=dtype, m=done[0], n=done[1], k=done[2], layout=layout, seconds=timing.calm_s)
