"""Seconds of kernels that a probe measured by kind: norms, dropout, gathers; products, convolutions, LSTM layers."""

from __future__ import annotations

import numpy as np

from trainwright.cost.convolution import Passes
from trainwright.cost.matmul import Product, curve
from trainwright.hardware.device import DTYPE_BYTES, Device, PassRate, ProductCurve
from trainwright.models.spec import Matmul
from trainwright.units import Number

_RELATIVES = {
    "strided_convolution": "convolution",
    "transposed_convolution": "convolution",
    "grouped_convolution": "convolution",
    "depthwise_convolution": "grouped_convolution",
    "wide_depthwise_convolution": "depthwise_convolution",
    "wide_depthwise_convolution_last": "wide_depthwise_convolution",
}
"""Whose curve a kind of product borrows where it was not measured."""


def kernel_s(kind: str, elements: Number, device: Device, *, backward: bool = False) -> Number:
    """Seconds of one kernel of this kind, or of its gradient; 0 where nobody measured it.

    >>> from dataclasses import replace
    >>> from trainwright.hardware.catalogue import device
    >>> from trainwright.hardware.device import KernelRate
    >>> rate = KernelRate(elements=(1e4, 1e6), forward_per_s=(1e9, 1e9), backward_per_s=(5e8, 5e8))
    >>> known = device("H100-SXM")
    >>> measured = replace(known, efficiency=replace(known.efficiency, kernels={"softmax": rate}))
    >>> round(float(kernel_s("softmax", 1e5, measured)), 9), kernel_s("softmax", 1e5, known)
    (0.0001, 0.0)
    """
    rate = device.efficiency.kernels.get(kind)
    if rate is None:
        return 0.0
    per_s = rate.backward_per_s if backward else rate.forward_per_s
    at = np.interp(np.log(np.maximum(elements, 1.0)), np.log(rate.elements), np.log(per_s))
    seconds: Number = elements / np.exp(at)
    return seconds


def measured_product(op: Matmul, product: Product, inputs: Number, dtype: str, device: Device) -> Passes | None:
    """A product, a convolution or an LSTM layer by its measured curve; None where the device has none.

    ``inputs``: elements of what it multiplies. The formula is PassRate's, with FLOP filled up to whole channel blocks;
    an LSTM reads its weight once a time step. Several plain products side by side
    each read their input, and each pay for the call.
    """
    kind = op.kernel or ("convolution" if op.is_convolution else "matmul")
    shape = _curve(kind, dtype, device)
    if shape is None:
        return None
    each, calls = DTYPE_BYTES[dtype], 1.0
    weights = each * op.k * op.n * product.count
    if kind == "transposed_convolution":
        inner, outer = op.k, max(op.n // op.window, 1)
    else:
        inner, outer = max(op.k // op.window, 1), op.n
    ahead, back, weight = (product.flop * each for each in fillings(kind, inner, outer, shape.channel_block))
    moved = each * (inputs + _outputs(op, product))
    if kind == "matmul":
        calls = float(max(op.n_kernels, 1))
        loops = op.count if op.n_kernels > 1 else 1  # the same weight each time, near after the first
        weights = each * product.k * product.n * product.count / loops
        moved = moved + each * inputs * (calls - 1.0) * (op.count == 1)
    return Passes(
        forward_s=_pass_s(shape.forward, ahead, moved, weights, calls),
        input_gradient_s=_pass_s(shape.input_gradient, back, moved, weights, calls),
        weight_gradient_s=_pass_s(shape.weight_gradient, weight, moved, weights, calls),
    )


def _curve(kind: str, dtype: str, device: Device) -> ProductCurve | None:
    while kind and kind not in device.efficiency.products:
        kind = _RELATIVES.get(kind, "")
    return curve(device.efficiency.products[kind], dtype) if kind else None


def fillings(kind: str, inner: int, outer: int, block: int) -> tuple[float, float, float]:
    """FLOP done over FLOP asked for, where oneDNN fills channels up to whole blocks: forward, the input's gradient, the
    weight's.

    The side that a convolution reads stays as it is: forward below a whole block, for the weight's gradient below
    FEW_CHANNELS. A transposed one goes forward as the gradient of the plain one's input does, and back as that goes
    forward.

    >>> fillings("convolution", 8, 16, 16), fillings("transposed_convolution", 16, 2, 16)
    ((1.0, 2.0, 2.0), (8.0, 1.0, 1.0))
    """
    is_transposed = kind == "transposed_convolution"
    read, written = (outer, inner) if is_transposed else (inner, outer)
    filled = float(np.ceil(written / block) * block / written)
    both = filled * float(np.ceil(read / block) * block / read)
    ahead = filled if read < block else both
    weights = filled if read < FEW_CHANNELS else both
    return (both, ahead, weights) if is_transposed else (ahead, both, weights)


FEW_CHANNELS = 4
"""Below so many channels oneDNN makes a weight's gradient from them as they lie: 0.53 ms for 3 of them, 1.72 for 4,
1.87 for 16 (torch 2.13, AVX-512; forward 0.50, 0.56, 1.77)."""


def _outputs(op: Matmul, product: Product) -> Number:
    """Elements of the result; a transposed convolution is taken to double both sides of its input."""
    if op.kernel != "transposed_convolution":
        return product.m * (product.n if not op.is_convolution else op.n) * product.count
    return product.m * op.n / op.window * min(op.window, 4) * product.count


def _pass_s(rate: PassRate, flop: Number, moved: Number, weights: Number, calls: float) -> Number:
    moving_s = moved / rate.bytes_per_s + weights / rate.weight_bytes_per_s
    return rate.call_s * calls + flop / rate.flop_per_s + moving_s
