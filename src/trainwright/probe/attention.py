"""Fused attention: seconds forward and backward by sequence and head dimension."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from trainwright.probe.clock import Clock
from trainwright.probe.matmul import TORCH_DTYPES
from trainwright.probe.samples import AttentionSample

CPU_SHAPES = ((8, 128, 32), (8, 256, 32), (4, 512, 32), (2, 1024, 32), (4, 256, 64), (2, 512, 64), (2, 256, 128))
GPU_SHAPES = ((64, 512, 64), (64, 1024, 64), (64, 2048, 64), (32, 1024, 128), (32, 4096, 128), (8, 8192, 128))
"""(batch times heads, sequence, head dimension)"""


def measure_attention(clock: Clock, device: str, dtypes: tuple[str, ...]) -> list[AttentionSample]:
    """Every shape in every dtype."""
    shapes = CPU_SHAPES if device == "cpu" else GPU_SHAPES
    return [_measure(clock, device, dtype, shape) for dtype in dtypes for shape in shapes]


def _measure(clock: Clock, device: str, dtype: str, shape: tuple[int, int, int]) -> AttentionSample:
    """q, k, v as a model hands them over: (batch, seq, heads, dim) seen as (batch, heads, seq, dim)."""
    n_heads, seq, head_dim = shape
    q_bhsd, k_bhsd, v_bhsd = (
        torch.randn(1, seq, n_heads, head_dim, device=device)
        .to(TORCH_DTYPES[dtype])
        .transpose(1, 2)
        .detach()
        .requires_grad_()
        for _ in range(3)
    )
    out = scaled_dot_product_attention(q_bhsd, k_bhsd, v_bhsd, is_causal=True)
    gradient = torch.randn_like(out)
    with torch.no_grad():
        forward = clock.time(lambda: scaled_dot_product_attention(q_bhsd, k_bhsd, v_bhsd, is_causal=True))
    backward = clock.time(lambda: torch.autograd.grad(out, (q_bhsd, k_bhsd, v_bhsd), gradient, retain_graph=True))
    return AttentionSample(
        dtype=dtype,
        n_heads=n_heads,
        seq=seq,
        head_dim=head_dim,
        forward_s=forward.calm_s,
        backward_s=backward.calm_s,
    )
