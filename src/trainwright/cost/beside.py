"""What a product takes beside multiplying: its bias, and making what it multiplies narrow."""

from __future__ import annotations

from trainwright.cost.matmul import Product
from trainwright.cost.pointwise import stream_s
from trainwright.cost.shard import Arithmetic
from trainwright.models.spec import Matmul
from trainwright.units import Number


def has_bias(op: Matmul) -> bool:
    """Whether its parameters are more than its weight."""
    return op.n_parameters > op.k * op.n * op.count * op.n_experts


def bias_s(op: Matmul, product: Product, how: Arithmetic) -> tuple[Number, Number]:
    """Seconds that a bias takes by itself, forward and backward.

    On a CPU it is written over the result of a plain product first and added to it; a GPU adds it to what a convolution
    wrote (PyTorch, aten/src/ATen/native/cudnn/ConvShared.cpp). Its gradient is a sum of its own, but where fused.
    """
    on_cpu = how.device.kind == "cpu"
    if op.is_convolution if on_cpu else not how.by_kernel:
        return 0.0, 0.0
    once = stream_s(how.base_bytes * product.m * product.n * product.count, how.device)
    return once if on_cpu else 2.0 * once if op.is_convolution else 0.0, once


FOUR_BIT_PASSES = 10.0
"""Bytes that making a 4-bit weight wide takes as long as: half a byte is read, looked up, and two are written, at a
quarter of the bandwidth. bitsandbytes on A100: 150 G weights a second (LitGPT's resource tables, with and without)."""


def widened_s(op: Matmul, product: Product, how: Arithmetic) -> Number:
    """Seconds in which weights kept in 4 bits are made wide before a product, forward and again backward.

    Source: Dettmers et al., QLoRA, arXiv:2305.14314, section 3.
    """
    if not op.n_parameters or op.split == "vocabulary":
        return 0.0
    return stream_s(FOUR_BIT_PASSES * product.n * product.k * product.count, how.device)


NARROW_PASSES = {"fp8": 4.0, "fp4": 5.0}
"""Bytes moved for an element made narrow: two read, and one written along rows and one along columns; in NVFP4 two
read for the largest of the tensor, two to round, half a byte each way. Source: NVIDIA, Transformer Engine 2.x."""


def narrowed_s(op: Matmul, product: Product, how: Arithmetic) -> tuple[Number, Number]:
    """Seconds in which inputs are made narrow forward, and the output's gradients backward.

    Fused norms write what they feed to a product in the narrow format themselves, but not in block-scaled formats.
    """
    each, stack = NARROW_PASSES.get(how.low, 4.0), how.stack
    from_norm = op.split == "column" and stack.fused and not stack.block_scaled and how.low != "fp4"
    inputs, outputs = product.m * product.k * product.count, product.m * product.n * product.count
    return 0.0 if from_norm else stream_s(each * inputs, how.device), stream_s(each * outputs, how.device)
