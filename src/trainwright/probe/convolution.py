"""Convolutions and LSTM layers: seconds of each pass by kind and shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from trainwright.probe.clock import Clock
from trainwright.probe.matmul import TORCH_DTYPES
from trainwright.probe.pool import Arena, Pool
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
        Shape(batch=8, inner=96, outer=3, side=32, window=4, stride=2),
        Shape(batch=8, inner=16, outer=64, side=16, window=4, stride=2),
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


Parameters = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A product to be measured: its sample but for the seconds, what is done, a few inputs, each with its weights."""

    sample: ProductSample
    work: Callable[[Tensor, Parameters], Tensor]
    inputs: tuple[Tensor, ...]
    parameters: tuple[Parameters, ...]
    incoming: Tensor


N_INPUTS = 3


COMMON = ("convolution", "strided_convolution")


def measure_products(clock: Clock, arena: Arena, dtypes: tuple[str, ...], *, rare: bool) -> list[ProductSample]:
    """Every kind and shape of convolution, and LSTM layers, in every dtype; on a GPU with eight times the batch.

    Unless ``rare`` is asked for, of dtypes after the first only plain convolutions and LSTM layers.
    """
    found = []
    for dtype in dtypes:
        kinds = SHAPES if rare or dtype == dtypes[0] else COMMON
        convolutions = [(kind, shape) for kind in kinds for shape in SHAPES[kind]]
        trials = [_convolution(arena, kind, shape, dtype) for kind, shape in convolutions]
        trials += [_lstm(arena, shape, dtype) for shape in LSTM_SHAPES]
        timings = [t.calm_s for t in clock.in_turn([work for trial in trials for work in _works(trial, arena)])]
        for trial, forward_s, weights_s, other_s in zip(
            trials, timings[::3], timings[1::3], timings[2::3], strict=True
        ):
            least_s, before_s = 0.1 * forward_s, weights_s if trial.sample.kind == "lstm" else forward_s
            found.append(
                replace(
                    trial.sample,
                    forward_s=forward_s,
                    input_gradient_s=max(other_s - before_s, least_s),
                    weight_gradient_s=max(weights_s - forward_s, least_s),
                )
            )
    return found


def _convolution(arena: Arena, kind: str, shape: Shape, dtype: str) -> Trial:
    scale = 1 if arena.device == "cpu" else 8
    kind_of_number = TORCH_DTYPES[dtype]
    inputs = [
        arena.cut((shape.batch * scale, shape.inner, shape.side, shape.side), kind_of_number) for _ in range(N_INPUTS)
    ]
    if kind.endswith("_last"):
        inputs = [x.contiguous(memory_format=torch.channels_last) for x in inputs]
    is_transposed = kind.startswith("transposed")
    sides = (shape.inner, shape.outer) if is_transposed else (shape.outer, shape.inner // shape.groups)
    size = (*sides, shape.window, shape.window)
    weights = [torch.rand(size, device=arena.device).to(kind_of_number).requires_grad_() for _ in inputs]

    def work(operand: Tensor, parameters: Parameters) -> Tensor:
        (weight,) = parameters
        if is_transposed:
            return functional.conv_transpose2d(operand, weight, None, shape.stride, (shape.window - shape.stride) // 2)
        return functional.conv2d(operand, weight, None, shape.stride, shape.window // 2, groups=shape.groups)

    x, weight = inputs[0], weights[0]
    with torch.no_grad():
        out = work(x, (weight,))
    positions = (x if is_transposed else out)[:, 0].numel()
    sample = ProductSample(
        kind=kind,
        dtype=dtype,
        inner=shape.inner // shape.groups,
        outer=shape.outer if shape.groups == 1 else 1,
        flop=2.0 * positions * weight.numel(),
        moved_bytes=float(x.nbytes + out.nbytes),
        weight_bytes=float(weight.nbytes),
    )
    return Trial(
        sample=sample,
        work=work,
        inputs=tuple(inputs),
        parameters=tuple((each,) for each in weights),
        incoming=torch.ones_like(out),
    )


def _lstm(arena: Arena, shape: tuple[int, int, int], dtype: str) -> Trial:
    """One layer: moves its input, states and four gates, and its weights once a time step."""
    batch, steps, width = shape
    layer = torch.nn.LSTM(width, width, batch_first=True, device=arena.device, dtype=TORCH_DTYPES[dtype])
    inputs = tuple(arena.cut((batch, steps, width), TORCH_DTYPES[dtype]) for _ in range(N_INPUTS))
    weights, size = 8 * width * width, inputs[0].element_size()

    def work(operand: Tensor, _parameters: Parameters) -> Tensor:
        out: Tensor = layer(operand)[0]
        return out

    sample = ProductSample(
        kind="lstm",
        dtype=dtype,
        inner=1,
        outer=1,
        flop=2.0 * batch * steps * weights,
        moved_bytes=float(batch * steps * 6 * width * size),
        weight_bytes=float(steps * weights * size),
    )
    parameters = (tuple(layer.parameters()),) * N_INPUTS
    return Trial(sample=sample, work=work, inputs=inputs, parameters=parameters, incoming=torch.ones_like(inputs[0]))


def _works(trial: Trial, arena: Arena) -> tuple[Pool, Pool, Pool]:
    """(forward, with the weight's gradient, with the input's), recorded by autograd, since an LSTM keeps more then.

    An LSTM makes the weights' gradients whatever is asked for, so there the last asks for both.
    """
    is_lstm = trial.sample.kind == "lstm"

    def weights(operand: Tensor, *parameters: Tensor) -> Tensor:
        (gradient, *_) = torch.autograd.grad(trial.work(operand, parameters), parameters, trial.incoming)
        return gradient

    def inputs(operand: Tensor, *parameters: Tensor) -> Tensor:
        leaf = operand.detach().requires_grad_()
        wanted = (leaf, *parameters) if is_lstm else (leaf,)
        (gradient, *_) = torch.autograd.grad(trial.work(leaf, parameters), wanted, trial.incoming)
        return gradient

    def forward(operand: Tensor, *parameters: Tensor) -> Tensor:
        return trial.work(operand, parameters)

    operands = [(x, *parameters) for x, parameters in zip(trial.inputs, trial.parameters, strict=True)]
    first, second, third = (Pool(work=w, operands=operands, keep=arena.keep) for w in (forward, weights, inputs))
    return first, second, third
