"""Matrix products: seconds by dtype and shape, in the three layouts of a linear layer's training step."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from trainwright.probe.clock import Clock
from trainwright.probe.pool import Places, Pool
from trainwright.probe.samples import MatmulSample

Layout = Literal["forward", "input_gradient", "weight_gradient"]
TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Shape = tuple[int, int, int]
CPU_SHAPES: tuple[Shape, ...] = (
    (2048, 256, 256), (1024, 512, 192), (1024, 128, 128), (512, 1024, 256), (256, 256, 2048), (64, 512, 512),
    (1024, 32, 512), (1024, 512, 32), (256, 2048, 256), (16, 256, 256), (256, 64, 64), (16, 768, 256), (768, 256, 16),
    (32, 1024, 1024), (128, 1024, 1024), (512, 384, 1536),
)  # fmt: skip
"""(m, n, k), small enough for a core: 2 to 600 MFLOP."""
GPU_SHAPES = tuple((16 * m, 16 * n, 16 * k) for m, n, k in CPU_SHAPES)


LAYOUTS: tuple[Layout, ...] = ("forward", "input_gradient", "weight_gradient")


def measure_matmuls(clock: Clock, at: Places, dtypes: tuple[str, ...]) -> list[MatmulSample]:
    """Every shape in every dtype and layout; ``m``, ``n``, ``k`` of a sample are those of the forward product."""
    shapes = CPU_SHAPES if at.near.device == "cpu" else GPU_SHAPES
    asked = [(dtype, shape, layout) for dtype in dtypes for shape in shapes for layout in LAYOUTS]
    timings = clock.in_turn([_work(at, dtype, shape, layout) for dtype, shape, layout in asked])
    return [
        MatmulSample(dtype=dtype, m=m, n=n, k=k, layout=layout, seconds=timing.calm_s)
        for (dtype, (m, n, k), layout), timing in zip(asked, timings, strict=True)
    ]


def _work(at: Places, dtype: str, shape: Shape, layout: Layout) -> Pool:
    """The product as a linear layer asks for it: x W^T, its gradient dY W, the weight's dY^T x.

    Weights in fp32 were last touched a step ago; in 16 bits autocast has just made them. What a weight's gradient reads
    beside dY was kept since forward.
    """
    near, kept = at.near, at.kept
    m, n, k = shape
    kind = TORCH_DTYPES[dtype]

    def weight() -> Tensor:
        return (kept if dtype == "fp32" else near).cut((n, k), kind)

    if layout == "forward":
        return near.pool_of(lambda x, w: x @ w.t(), lambda: (near.cut((m, k), kind), weight()))
    if layout == "input_gradient":
        return near.pool_of(torch.matmul, lambda: (near.cut((m, n), kind), weight()))
    return near.pool_of(lambda gradient, x: gradient.t() @ x, lambda: (near.cut((m, n), kind), kept.cut((m, k), kind)))
