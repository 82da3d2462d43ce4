"""Fused attention: seconds forward and backward by sequence and head dimension."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from trainwright.probe.clock import Clock
from trainwright.probe.matmul import TORCH_DTYPES
from trainwright.probe.pool import Arena, Pool
from trainwright.probe.samples import AttentionSample

CPU_SHAPES = (
    (32, 128, 32), (8, 128, 32), (8, 256, 32), (2, 1024, 32), (16, 128, 64), (4, 256, 64), (2, 512, 64), (4, 256, 128),
)  # fmt: skip
GPU_SHAPES = ((64, 512, 64), (64, 1024, 64), (64, 2048, 64), (32, 1024, 128), (32, 4096, 128), (8, 8192, 128))
"""(batch times heads, sequence, head dimension)"""


def measure_attention(clock: Clock, arena: Arena, dtypes: tuple[str, ...]) -> list[AttentionSample]:
    """Every shape in every dtype."""
    shapes = CPU_SHAPES if arena.device == "cpu" else GPU_SHAPES
    asked = [(dtype, shape) for dtype in dtypes for shape in shapes]
    timings = clock.in_turn([work for dtype, shape in asked for work in _works(arena, dtype, shape)])
    return [
        AttentionSample(
            dtype=dtype,
            n_heads=n_heads,
            seq=seq,
            head_dim=head_dim,
            forward_s=forward.calm_s,
            backward_s=max(both.calm_s - forward.calm_s, 0.1 * both.calm_s),
        )
        for (dtype, (n_heads, seq, head_dim)), forward, both in zip(asked, timings[::2], timings[1::2], strict=True)
    ]


def _works(arena: Arena, dtype: str, shape: tuple[int, int, int]) -> tuple[Pool, Pool]:
    """(forward, with backward). q, k, v as models hand them over: (1, seq, heads, dim) seen as (1, heads, seq, dim)."""
    n_heads, seq, head_dim = shape
    kind = TORCH_DTYPES[dtype]
    gradient_bhsd = arena.cut((1, n_heads, seq, head_dim), kind)

    def forward(operand_3shd: torch.Tensor) -> torch.Tensor:
        q_bhsd, k_bhsd, v_bhsd = (part.unsqueeze(0).transpose(1, 2) for part in operand_3shd)
        return scaled_dot_product_attention(q_bhsd, k_bhsd, v_bhsd, is_causal=True)

    def both(operand_3shd: torch.Tensor) -> torch.Tensor:
        leaf_3shd = operand_3shd.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(forward(leaf_3shd), leaf_3shd, gradient_bhsd)
        return gradient

    operand = ((3, seq, n_heads, head_dim), kind)
    return arena.pool(forward, operand), arena.pool(both, operand)
