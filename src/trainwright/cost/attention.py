"""Seconds of softmax(q k^T) v: one fused kernel, or plain matrix products around a softmax in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainwright.cost.matmul import Product, matmul_s, peak_flop_per_s
from trainwright.cost.numbers import larger
from trainwright.cost.pointwise import stream_s
from trainwright.hardware.device import DTYPE_BYTES, AttentionCurve, Device, Saturation
from trainwright.units import Number

Kernel = Literal["fused", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """``batch`` samples of ``queries`` against ``keys`` positions over ``n_heads`` heads. Counts may be arrays.

    ``causal`` lets a fused kernel skip what is masked; ``window`` is how far back a query looks.
    """

    batch: Number
    queries: Number
    keys: Number
    n_heads: Number
    n_kv_heads: Number
    qk_dim: float
    v_dim: float
    causal: bool = True
    window: float | None = None

    @property
    def pairs(self) -> Number:
        """Query-key pairs of one head and sample, masked ones included."""
        return self.queries * self.keys

    @property
    def seen_share(self) -> Number:
        """Share of the pairs that the mask leaves.

        >>> AttentionShape(batch=1, queries=4.0, keys=4.0, n_heads=1, n_kv_heads=1, qk_dim=64, v_dim=64).seen_share
        0.625
        """
        if self.window is None:
            return (self.keys + 1.0) / (2.0 * self.keys) if self.causal else 1.0
        reach = np.minimum(self.window, self.keys)
        share: Number = reach * (self.keys - (reach - 1.0) / 2.0) / (self.keys * self.keys)
        return share if self.causal else np.minimum(2.0 * share, 1.0)

    @property
    def flop(self) -> Number:
        """FLOP of the forward with every pair counted: 2 pairs heads (qk_dim + v_dim)."""
        return 2.0 * self.batch * self.n_heads * self.pairs * (self.qk_dim + self.v_dim)

    @property
    def elements(self) -> Number:
        """Elements of q, k, v and the output."""
        per_query = self.n_heads * (self.qk_dim + self.v_dim) * self.queries
        return self.batch * (per_query + self.n_kv_heads * (self.qk_dim + self.v_dim) * self.keys)


def fused_attention_s(shape: AttentionShape, dtype: str, device: Device, *, backward: bool = False) -> Number:
    """Seconds of a fused kernel (FlashAttention, or what CPU SDPA does), which keeps no pairs in memory.

    t = max(flop seen / (peak share(flop)), bytes / bandwidth, launch); backward does 2.5 times the FLOP.

    Source: Dao, "FlashAttention-2", arXiv:2307.08691, section 3 (five products backward, two forward).
    """
    if dtype in device.efficiency.attention_curves:
        return measured_attention_s(shape, device.efficiency.attention_curves[dtype], backward=backward)
    share: Saturation = device.efficiency.attention_backward if backward else device.efficiency.attention_forward
    flop = shape.flop * shape.seen_share * (2.5 if backward else 1.0)
    work_s = flop / (peak_flop_per_s(device, dtype) * share.share(flop))
    work_s = work_s * narrow_heads(shape.qk_dim, device.architecture, backward=backward)
    touched = shape.elements * DTYPE_BYTES[dtype] * (3.0 if backward else 1.0)
    return larger(work_s, stream_s(touched, device))


EXPONENT_SHARES = {"Ampere-GA100": 0.15, "Hopper": 0.45, "Blackwell": 0.65, "Blackwell-Ultra": 0.5}
"""Share of a fused forward over heads of 128 that the exponentials set: 16 a clock and multiprocessor on each (32 on
Blackwell-Ultra), beside 2048, 4096 and 8192 FLOP. Assumed; not looked up: from memory of forward with heads of 64 and
of 128 in the papers on FlashAttention 2 and 3 (arXiv:2307.08691, arXiv:2407.08608); Blackwell's from the same sum of
both times with twice the products."""


def narrow_heads(dim: float, architecture: str, *, backward: bool = False) -> float:
    """How much longer a fused kernel takes for each FLOP with heads narrower than the 128 its curve is of.

    Products shrink with the head, exponentials do not; five products beside them backward, two forward.

    >>> narrow_heads(64.0, "Hopper"), narrow_heads(192.0, "Hopper")
    (1.45, 1.0)
    """
    share = EXPONENT_SHARES.get(architecture, 0.0) * (0.4 if backward else 1.0)
    return 1.0 + share * max(128.0 / dim - 1.0, 0.0)


def measured_attention_s(shape: AttentionShape, curve: AttentionCurve, *, backward: bool = False) -> Number:
    """Seconds of a fused kernel whose rate a probe measured, with the FLOP it really does: see AttentionCurve.

    >>> shape = AttentionShape(batch=1.0, queries=1024.0, keys=1024.0, n_heads=8.0, n_kv_heads=8.0, qk_dim=32, v_dim=32)
    >>> curve = AttentionCurve(forward_flop_per_s=1e11, backward_flop_per_s=5e10, forward_half_dim=32.0, key_block=512)
    >>> round(1e3 * float(measured_attention_s(shape, curve)), 2)  # 1.07 GFLOP, 3/4 of it done, at 50 GFLOP/s
    16.11
    """
    seen = np.minimum(1.0, (shape.keys + curve.key_block) / (2.0 * shape.keys)) if shape.causal else 1.0
    best, head_flop, half_dim = curve.forward_flop_per_s, curve.forward_head_flop, curve.forward_half_dim
    if backward:
        best, head_flop, half_dim = curve.backward_flop_per_s / 2.5, curve.backward_head_flop, curve.backward_half_dim
    flop = shape.flop * seen + shape.batch * shape.n_heads * head_flop
    seconds: Number = flop / best * (1.0 + half_dim / shape.qk_dim)
    return seconds


def plain_attention_s(shape: AttentionShape, dtype: str, device: Device, *, backward: bool = False) -> Number:
    """Seconds of the unfused form: scores, scale and mask, softmax, weighted sum; every pair is computed.

    The pairs pass through memory between the products: forward 6 times in the compute dtype (scale, mask and
    softmax in one fused kernel would be 2), backward 4. Ignores dropout, which ops of its own count.
    """
    heads = shape.batch * shape.n_heads
    scores = Product(m=shape.queries, n=shape.keys, k=shape.qk_dim, count=heads)
    values = Product(m=shape.queries, n=shape.v_dim, k=shape.keys, count=heads)
    passes = 4.0 if backward else 6.0
    products: tuple[Product, ...] = (scores, values)
    if backward:
        products = tuple(half for p in products for half in (p.input_gradient, p.weight_gradient))
    pairs = heads * shape.pairs
    unit = "fp32" if dtype in ("fp16", "bf16") and shape.qk_dim % ALIGNED and device.kind == "gpu" else dtype
    total: Number = stream_s(passes * pairs * DTYPE_BYTES[dtype], device, transcendental=0.0 if backward else pairs)
    for product in products:
        total = total + matmul_s(product, unit, device)
    return total


CAST_PAIR_BYTES = (24.0, 28.0)
"""Bytes that move for each pair around the products under autocast, forward and backward. Forward: scaled in 16 bits
(2 + 2), widened (2 + 4), softmax in fp32 (4 + 4), narrowed for the product (4 + 2); backward the same, and softmax's
gradient reads its result too (4). Source: torch.amp's lists of ops (softmax is autocast to float32)."""


def cast_attention_s(shape: AttentionShape, dtype: str, device: Device, *, backward: bool = False) -> Number:
    """Seconds of the unfused form under autocast, which takes the softmax in fp32.

    Queries, keys, values and the output (or their gradients) are copied from and to the order of the tokens.
    """
    pairs = shape.batch * shape.n_heads * shape.pairs
    plain, cast = (4.0 if backward else 6.0) * DTYPE_BYTES[dtype], CAST_PAIR_BYTES[backward]
    more = pairs * larger(cast - plain, 0.0)
    more = more + 2.0 * shape.elements * DTYPE_BYTES[dtype] / device.efficiency.reduction
    return plain_attention_s(shape, dtype, device, backward=backward) + stream_s(more, device)


WRITTEN_OUT_BYTES = (33.0, 35.0)
"""Bytes that move for each pair, forward and backward, beyond those of one kernel, where Megatron's is not used:
widened (2 + 4), scaled (4 + 4), masked (4 + 4 + 1), softmax (4 + 4), narrowed (4 + 2), for 4 in one; the gradient the
same way back, its softmax's reading what it gave (4), for 6. It wants heads times samples in fours.
Source: Megatron-LM, megatron/model/fused_softmax.py (``is_kernel_available``, ``forward_torch_softmax``)."""


def written_out_s(shape: AttentionShape, device: Device, *, backward: bool = False) -> Number:
    """Seconds more than ``plain_attention_s`` where scale, mask and softmax are kernels of their own, in fp32."""
    return stream_s(WRITTEN_OUT_BYTES[backward] * shape.batch * shape.n_heads * shape.pairs, device)


ALIGNED = 8
"""Elements of 16 bits in the 16 bytes that matrix units load at a time: heads of another width are multiplied by plain
cores. Source: NVIDIA, "Matrix multiplication background", section 4.1 (cuBLAS before 11 and batched strides after it);
Anthony et al., arXiv:2401.14489, figure 7 (attention by the power of two that divides a head's width)."""
