"""Convolutions and LSTM layers: seconds of each pass by kind and shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainwright.probe.clock import Clock
from trainwright.probe.matmul import TORCH_DTYPES
from trainwright.probe.pool import Pool
from trainwright.probe.samples import ProductSample


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A convolution of (batch, inner, side, side) to ``outer`` channels, by a square window."""

    batch: int
    inner: int
    outer: int
    side: int
    window: int
    stride: int = 1
    groups: int = 1


def _depthwise(batch: int, channels: int, side: int, window: int, stride: int = 1) -> Shape:
    return Shape(batch=batch, inner=channels, outer=channels, side=side, window=window, stride=stride, groups=channels)


_WIDE = (_depthwise(8, 48, 24, 7), _depthwise(8, 192, 6, 7), _depthwise(8, 96, 12, 5), _depthwise(8, 384, 3, 7))
SHAPES: dict[str, tuple[Shape, ...]] = {
    "convolution": (
        Shape(batch=8, inner=64, outer=64, side=24, window=3),
        Shape(batch=8, inner=64, outer=256, side=24, window=1),
        Shape(batch=4, inner=256, outer=128, side=12, window=3),
        Shape(batch=4, inner=256, outer=256, side=12, window=1),
        Shape(batch=16, inner=16, outer=32, side=32, window=1),
        Shape(batch=8, inner=24, outer=48, side=24, window=3),
        Shape(batch=4, inner=512, outer=512, side=4, window=3),
        Shape(batch=8, inner=1024, outer=512, side=6, window=1),
        Shape(batch=8, inner=3, outer=32, side=32, window=3),
    ),
    "strided_convolution": (
        Shape(batch=8, inner=32, outer=64, side=32, window=3, stride=2),
        Shape(batch=16, inner=48, outer=96, side=16, window=4, stride=2),
        Shape(batch=8, inner=128, outer=256, side=16, window=1, stride=2),
        Shape(batch=4, inner=256, outer=512, side=8, window=3, stride=2),
        Shape(batch=8, inner=3, outer=64, side=48, window=7, stride=2),
        Shape(batch=8, inner=64, outer=128, side=12, window=2, stride=2),
    ),
    "transposed_convolution": (
        Shape(batch=16, inner=96, outer=48, side=8, window=4, stride=2),
        Shape(batch=16, inner=48, outer=24, side=16, window=2, stride=2),
        Shape(batch=8, inner=48, outer=3, side=16, window=4, stride=2),
    ),
    "grouped_convolution": (
        Shape(batch=8, inner=256, outer=256, side=12, window=3, groups=32),
        Shape(batch=8, inner=64, outer=64, side=24, window=3, groups=4),
        Shape(batch=8, inner=128, outer=128, side=12, window=3, groups=32),
    ),
    "depthwise_convolution": (
        _depthwise(8, 48, 24, 3),
        _depthwise(8, 256, 6, 3),
        _depthwise(8, 96, 24, 3, 2),
    ),
    "wide_depthwise_convolution": _WIDE,
    "wide_depthwise_convolution_last": _WIDE,
}
LSTM_SHAPES = ((16, 32, 128), (32, 16, 256), (4, 32, 256))
"""(batch, time steps, width)."""


def measure_convolutions(clock: Clock, device: str, dtypes: tuple[str, ...]) -> list[ProductSample]:
    """Every kind and shape in every dtype; on a GPU with eight times the batch."""
    scale = 1 if device == "cpu" else 8
    return [
        _convolution(clock, kind, shape, dtype, (device, scale))
        for dtype in dtypes
        for kind, shapes in SHAPES.items()
        for shape in shapes
    ]


def _convolution(clock: Clock, kind: str, shape: Shape, dtype: str, on: tuple[str, int]) -> ProductSample:
    device, scale = on
    x = torch.randn(shape.batch * scale, shape.inner, shape.side, shape.side, device=device).to(TORCH_DTYPES[dtype])
    if kind.endswith("_last"):
        x = x.contiguous(memory_format=torch.channels_last)
    is_transposed = kind.startswith("transposed")
    sides = (shape.inner, shape.outer) if is_transposed else (shape.outer, shape.inner // shape.groups)
    weight = torch.randn(*sides, shape.window, shape.window, device=device)
    weight = weight.to(TORCH_DTYPES[dtype]).requires_grad_()

    def work(operand: Tensor) -> Tensor:
        if is_transposed:
            return functional.conv_transpose2d(operand, weight, None, shape.stride, (shape.window - shape.stride) // 2)
        return functional.conv2d(operand, weight, None, shape.stride, shape.window // 2, groups=shape.groups)

    with torch.no_grad():
        out = work(x)
    forward_s, input_s, weight_s = _passes(clock, work, x, (weight,), torch.ones_like(out))
    positions = (x if is_transposed else out)[:, 0].numel()
    return ProductSample(
        kind=kind,
        dtype=dtype,
        inner=shape.inner // shape.groups,
        outer=shape.outer if shape.groups == 1 else 1,
        flop=2.0 * positions * weight.numel(),
        moved_bytes=float(x.nbytes + out.nbytes),
        weight_bytes=float(weight.nbytes),
        forward_s=forward_s,
        input_gradient_s=input_s,
        weight_gradient_s=weight_s,
    )


def measure_lstms(clock: Clock, device: str, dtypes: tuple[str, ...]) -> list[ProductSample]:
    """One layer at each shape; bytes are those of the weights, once a time step."""
    return [_lstm(clock, device, dtype, shape) for dtype in dtypes for shape in LSTM_SHAPES]


def _lstm(clock: Clock, device: str, dtype: str, shape: tuple[int, int, int]) -> ProductSample:
    batch, steps, width = shape
    layer = torch.nn.LSTM(width, width, batch_first=True, device=device, dtype=TORCH_DTYPES[dtype])
    x = torch.randn(batch, steps, width, device=device, dtype=TORCH_DTYPES[dtype])
    weights = 8 * width * width

    def work(operand: Tensor) -> Tensor:
        out: Tensor = layer(operand)[0]
        return out

    with torch.no_grad():
        out = work(x)
    parameters = tuple(layer.parameters())
    forward_s, input_s, weight_s = _passes(clock, work, x, parameters, torch.ones_like(out))
    return ProductSample(
        kind="lstm",
        dtype=dtype,
        inner=1,
        outer=1,
        flop=2.0 * batch * steps * weights,
        moved_bytes=0.0,
        weight_bytes=float(steps * weights * x.element_size()),
        forward_s=forward_s,
        input_gradient_s=input_s,
        weight_gradient_s=weight_s,
    )


def _passes(
    clock: Clock, work: Callable[[Tensor], Tensor], x: Tensor, parameters: tuple[Any, ...], incoming: Tensor
) -> tuple[float, float, float]:
    """(forward, input's gradient, weight's gradient): of all that is asked for together, less what it is without."""

    def forward(operand: Tensor) -> Tensor:
        return work(operand)  # recorded by autograd, since an LSTM keeps more then

    def weights(operand: Tensor) -> Tensor:
        (gradient, *_) = torch.autograd.grad(work(operand.detach()), parameters, incoming)
        return gradient

    def both(operand: Tensor) -> Tensor:
        leaf = operand.detach().requires_grad_()
        (gradient, *_) = torch.autograd.grad(work(leaf), (leaf, *parameters), incoming)
        return gradient

    forward_s, weights_s, both_s = (
        clock.time(Pool.of(what, x, size)).calm_s
        for what, size in ((forward, incoming.nbytes), (weights, 0), (both, x.nbytes))
    )
    return forward_s, max(both_s - weights_s, 0.1 * forward_s), max(weights_s - forward_s, 0.1 * forward_s)
