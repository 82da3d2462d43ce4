"""Memory that CPU kernels take for themselves while they run: oneDNN's blocked copies and its LSTM workspace.

Read off the CPU allocator's events (torch 2.13, oneDNN, AVX512: 16 channels a block); tests/contract holds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from typing import Any

import torch

_BLOCK = 16
_PAGE = 4096

LOSSES = frozenset({"mse_loss", "smooth_l1_loss", "soft_margin_loss", "binary_cross_entropy"})
"""Losses whose CPU kernels reduce within a tensor of the inputs' size, which the scalar then holds on to."""


def scratch_bytes(name: str, args: Any, out_bytes: int) -> int:
    """Bytes that an op on CPU has allocated at its worst moment, beyond its results.

    A convolution copies input, weight and result into blocks of 16 channels, unless its kernel is of one element; in
    16 bits it makes its result three times, and sums the weight's gradient in fp32 besides. An LSTM layer copies its
    weights and makes room for its gates. Distances are a product of both sides, each with two columns more.
    """
    if name == "_euclidean_dist":
        return sum(side.nbytes + 2 * side.nbytes // side.shape[-1] for side in args[:2])
    if name.startswith("mkldnn_rnn_layer"):
        return lstm_scratch_bytes(args[0].shape, args[2].shape[1], backward=name.endswith("backward"))
    if name == "convolution" and _is_blocked(args[0], args[1]):
        return max(0, 4 * _forward_elements(args, out_bytes) - out_bytes)
    if name == "convolution" and args[0].element_size() == 2 and _is_onednn(args[0].shape, args[1].shape):
        return 2 * out_bytes
    if name == "convolution_backward" and args[1].element_size() == 2 and not _is_depthwise(args):
        return 4 * int(args[2].numel()) if args[10][1] and _is_onednn(args[1].shape, args[2].shape) else 0
    if name == "convolution_backward" and _is_depthwise(args):
        return DEPTHWISE_COPIES * int(args[2].numel()) * (4 if args[2].element_size() == 4 else 6)
    if name == "convolution_backward" and _is_blocked(args[1], args[2]):
        return max(0, 4 * _backward_elements(args) - out_bytes)
    return 0


DEPTHWISE_COPIES = 257
"""From how many copies oneDNN sums the gradient of a depthwise weight."""


def _is_depthwise(args: Any) -> bool:
    """Whether that kernel runs: for windows below 16 positions, and for wider ones with channels last in memory."""
    x, weight = args[1], args[2]
    if args[9] != x.shape[1] or weight.shape[1] != 1 or x.dim() != 4 or not args[10][1]:
        return False
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return bool(last == (prod(weight.shape[2:]) >= 16))


def _is_blocked(x: Any, weight: Any) -> bool:
    return prod(weight.shape[2:]) > 1 and x.element_size() == 4 and _is_onednn(x.shape, weight.shape)


def _forward_elements(args: Any, out_bytes: int) -> int:
    x, weight, transposed = args[0].shape, args[1].shape, args[6]
    channels = weight[0]
    out = out_bytes // 4 if transposed else ceil(out_bytes / 4 * _filled(channels) / channels)
    return 3 * out if transposed else max(_blocked(x) + _blocked((1, *weight)) + out, out + out_bytes // 4)


def _backward_elements(args: Any) -> int:
    gradient, x, weight = _blocked(args[0].shape), _blocked(args[1].shape), _blocked((1, *args[2].shape))
    strided = max(args[4]) > 1 and not args[7]
    wants_input, wants_weight = args[10][:2]
    for_input = max(gradient + weight + x, (3 if strided else 2) * x) if wants_input else 0
    for_weight = gradient + x + weight + (int(args[1].numel()) if wants_input else 0) if wants_weight else 0
    return max(for_input, for_weight)


def _filled(channels: int) -> int:
    """Channels filled up to whole blocks."""
    return ceil(channels / _BLOCK) * _BLOCK


def _blocked(shape: Sequence[int]) -> int:
    """Elements of (batch, channels, ...) with channels filled up to whole blocks; a few channels stay as they are."""
    channels = shape[1] if shape[1] < 4 else _filled(shape[1])
    return shape[0] * channels * prod(shape[2:])


def _is_onednn(x: Sequence[int], weight: Sequence[int]) -> bool:
    """When aten hands a convolution to oneDNN: more than one sample, or a large one, or groups or a large kernel."""
    return x[0] > 1 or prod(x) > 20_480 or x[1] != weight[1] or min(weight[2:]) > 3


def lstm_workspace_bytes(x: Sequence[int], hidden: int) -> int:
    """What oneDNN keeps of one LSTM layer (time, batch, width) for backward: gates, states, in whole pages.

    >>> lstm_workspace_bytes((32, 16, 256), 256), lstm_workspace_bytes((8, 3, 10), 20)
    (8302592, 53248)
    """
    steps, batch, width = x
    states = 2 * (steps + 1) * batch
    wide = _leading(max(width, hidden))
    pieces = (
        steps * batch * _leading(4 * hidden),
        *(states * wide,) * 3,
        *(states * hidden,) * 2,
        steps * batch * _leading(hidden),
    )
    return sum(ceil(4 * piece / _PAGE) * _PAGE for piece in pieces)


def lstm_scratch_bytes(x: Sequence[int], hidden: int, *, backward: bool) -> int:
    """Bytes that oneDNN takes while one LSTM layer runs: weights transposed, gates of all steps.

    >>> lstm_scratch_bytes((32, 4, 256), 256, backward=False)  # measured: 2687544
    2654208
    """
    steps, batch, width = x
    copies = 4 * hidden * (width + hidden) * 65 // 64
    if backward:
        copies += sum(4 * hidden * _leading(w) for w in (width, hidden) if _leading(w) != w)
    return 4 * (copies + steps * batch * 4 * hidden)


def _leading(width: int) -> int:
    """oneDNN's row length: whole cache lines, and never a multiple of 256."""
    rounded = ceil(width / _BLOCK) * _BLOCK
    return rounded + _BLOCK if rounded % 256 == 0 else rounded
