"""Fused attention: seconds forward and backward by sequence and head dimension."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from trainwright.probe.clock import Clock
from trainwright.probe.matmul import TORCH_DTYPES
from trainwright.probe.pool import Pool
from trainwright.probe.samples import AttentionSample

CPU_SHAPES = ((8, 128, 32), (8, 256, 32), (3, 512, 32), (1, 1024, 32), (4, 256, 64), (2, 512, 64), (2, 256, 128))
GPU_SHAPES = ((64, 512, 64), (64, 1024, 64), (64, 2048, 64), (32, 1024, 128), (32, 4096, 128), (8, 8192, 128))
"""(batch times heads, sequence, head dimension)"""


def measure_attention(clock: Clock, device: str, dtypes: tuple[str, ...]) -> list[AttentionSample]:
    """Every shape in every dtype."""
    shapes = CPU_SHAPES if device == "cpu" else GPU_SHAPES
    return [_measure(clock, device, dtype, shape) for dtype in dtypes for shape in shapes]


def _measure(clock: Clock, device: str, dtype: str, shape: tuple[int, int, int]) -> AttentionSample:
    """q, k, v as a model hands them over: (1, seq, heads, dim) seen as (1, heads, seq, dim), one after another."""
    n_heads, seq, head_dim = shape
    qkv_3shd = torch.randn(3, seq, n_heads, head_dim, device=device).to(TORCH_DTYPES[dtype])
    gradient_bhsd = torch.randn(1, n_heads, seq, head_dim, device=device).to(TORCH_DTYPES[dtype])

    def forward(operand_3shd: torch.Tensor) -> torch.Tensor:
        q_bhsd, k_bhsd, v_bhsd = (part.unsqueeze(0).transpose(1, 2) for part in operand_3shd)
        return scaled_dot_product_attention(q_bhsd, k_bhsd, v_bhsd, is_causal=True)

    def both(operand_3shd: torch.Tensor) -> torch.Tensor:
        leaf_3shd = operand_3shd.requires_grad_()
        (gradient,) = torch.autograd.grad(forward(leaf_3shd), leaf_3shd, gradient_bhsd)
        return gradient

    with torch.no_grad():
        forward_s = clock.time(Pool.of(forward, qkv_3shd, gradient_bhsd.nbytes)).calm_s
    both_s = clock.time(Pool.of(both, qkv_3shd, qkv_3shd.nbytes)).calm_s
    return AttentionSample(
        dtype=dtype,
        n_heads=n_heads,
        seq=seq,
        head_dim=head_dim,
        forward_s=forward_s,
        backward_s=max(both_s - forward_s, 0.1 * both_s),
    )
