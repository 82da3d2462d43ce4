"""Seconds of products and convolutions on a GPU as training does them: forward, and the gradients of both operands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainwright.cost.matmul import Product, curve, matmul_s, matmul_share, peak_flop_per_s
from trainwright.cost.pointwise import stream_bytes_per_s
from trainwright.hardware.device import DTYPE_BYTES, Device
from trainwright.models.spec import Matmul
from trainwright.units import Number

SHARE = 1.1
"""What a convolution reaches of the rate of the plain product of its shape: cuDNN chooses among more tilings. This and
the shares below: 487 rows of timm's tables on an RTX 3090, NCHW and NHWC, of 206 models; others are judged by them
(docs/accuracy.md, training on one GPU)."""

GROUPED_SHARE = {True: 0.062, False: 0.55}
"""What is left of it for convolutions in groups: with channels last (cuDNN has no fast kernel), and without."""

NARROW = 4
"""Of so few output channels a group, frameworks make each element by itself, without tensor cores."""

NARROW_SHARE = 0.235
"""What such kernels reach of the memory's bandwidth."""

NARROW_RATE = 0.1
"""What they reach of the peak of fp32 where the window is wide."""

LONG = 1024.0
"""A gradient summed over more rows than twice this is cut along them where its tiles do not fill the device."""

TILE = 128.0

CACHE_RATIO = 1.2
"""Bandwidth of the second-level cache, from which a convolution reads each input for every place of its window, over
the memory's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """Seconds of the product forward, of the gradient of its input, and of its weight's."""

    forward_s: Number
    input_gradient_s: Number
    weight_gradient_s: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """What a product multiplies: its dtype, the elements that a convolution reads, and how images lie in memory.

    ``is_plain``: whether to price every product and convolution as the plain product.
    """

    dtype: str
    inputs: Number
    channels_last: bool = False
    is_plain: bool = False


def passes(op: Matmul, product: Product, of: Operands, device: Device) -> Passes:
    """The three products of a training step.

    A convolution's k repeats each input for every place of its window; its kernel reads it once, so memory limits it
    less than the product it stands for. Tensor cores want channels last; where images lie otherwise, each operand is
    turned before and the result after. With few channels a group a convolution is a stream of its inputs and outputs.
    Long thin weight gradients are cut along their rows (split-K) where that fills the device.

    Source: implicit GEMM, Chetlur et al., cuDNN, arXiv:1410.0759; layouts, NVIDIA's deep learning performance guide.
    """
    dtype = of.dtype
    if device.kind == "cpu" or of.is_plain:
        return Passes(
            forward_s=matmul_s(product, dtype, device),
            input_gradient_s=matmul_s(product.input_gradient, dtype, device),
            weight_gradient_s=matmul_s(product.weight_gradient, dtype, device),
        )
    dtype = _multiplied(dtype, device)
    cut = _cut(product.weight_gradient, device)
    if not op.is_convolution:
        weight_s = matmul_s(product.weight_gradient, dtype, device)
        if np.ndim(cut.count) or cut.count > product.count:
            weight_s = np.minimum(weight_s, matmul_s(cut, dtype, device))
        return Passes(
            forward_s=matmul_s(product, dtype, device),
            input_gradient_s=matmul_s(product.input_gradient, dtype, device),
            weight_gradient_s=weight_s,
        )
    images = DTYPE_BYTES[dtype] * (of.inputs + product.m * product.n * product.count)
    touched = images + DTYPE_BYTES[dtype] * op.n_parameters
    stream = touched / stream_bytes_per_s(device, touched)
    if op.count > 1 and op.n <= NARROW:
        rate = NARROW_RATE * peak_flop_per_s(device, "fp32" if "fp32" in device.flop_per_s else dtype)
        each = device.launch_s + np.maximum(stream / NARROW_SHARE, product.flop / rate)
        return Passes(forward_s=each, input_gradient_s=each, weight_gradient_s=each)
    lines = DTYPE_BYTES[dtype] * product.m * product.k * np.ceil(product.n / TILE) * product.count
    stream = np.maximum(stream, lines / (CACHE_RATIO * device.memory_bytes_per_s))
    turned = 0.0 if of.channels_last or dtype == "fp32" else 2.0 * images / stream_bytes_per_s(device, images)
    turned = turned / device.efficiency.reduction
    share = SHARE * (GROUPED_SHARE[of.channels_last] if op.count > 1 else 1.0)
    three = (product, product.input_gradient, cut)
    forward_s, input_s, weight_s = (
        device.launch_s + turned + np.maximum(_tiles_s(each, dtype, device) / share, stream) for each in three
    )
    return Passes(forward_s=forward_s, input_gradient_s=input_s, weight_gradient_s=weight_s)


def _multiplied(dtype: str, device: Device) -> str:
    """The dtype that a library multiplies in: fp32 where the device is slower in 16 bits (Pascal's cards)."""
    rates = device.flop_per_s
    return "fp32" if rates.get(dtype, 0.0) < rates.get("fp32", 0.0) else dtype


def _tiles_s(product: Product, dtype: str, device: Device) -> Number:
    shape = curve(device.efficiency.matmul, dtype)
    share = matmul_share(product, shape, device.n_units or shape.n_units)
    seconds: Number = product.flop / (peak_flop_per_s(device, dtype) * share)
    return seconds


def _cut(gradient: Product, device: Device) -> Product:
    """The same sums in parts: as many as fill the device, none shorter than LONG."""
    tiles = np.ceil(gradient.m / TILE) * np.ceil(gradient.n / TILE) * gradient.count
    ways = np.floor(np.maximum(np.minimum((device.n_units or 1.0) / tiles, gradient.k / LONG), 1.0))
    return Product(m=gradient.m, n=gradient.n, k=gradient.k / ways, count=gradient.count * ways)
