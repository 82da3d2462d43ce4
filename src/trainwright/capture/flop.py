"""FLOP of one ATen op, from shapes alone: multiplications and additions of matrix products, as torch counts them.

Pointwise work counts nothing, like torch's FlopCounterMode; unlike it, fused attention on CPU, ``_grouped_mm``
(experts) and oneDNN's LSTM are counted too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch


def flop_of(name: str, args: Sequence[Any], out: Any) -> float:
    """FLOP of the op ``name`` (an ATen name without namespace) called with these arguments.

    >>> a, b = torch.empty(4, 8, device="meta"), torch.empty(8, 3, device="meta")
    >>> flop_of("mm", (a, b), None), flop_of("add", (a, a), None)
    (192.0, 0.0)
    """
    formula = _FORMULAS.get(name)
    return float(formula(args, out)) if formula else 0.0


def convolution_flop(x_shape: Sequence[int], w_shape: Sequence[int], out_shape: Sequence[int], transposed: bool) -> int:
    """2 * batch * positions * weights: positions of the output, of the input where transposed."""
    positions = x_shape[2:] if transposed else out_shape[2:]
    return 2 * x_shape[0] * prod(positions) * prod(w_shape)


def _convolution(args: Any, out: Any) -> int:
    return convolution_flop(args[0].shape, args[1].shape, out.shape, args[6])


def _convolution_backward(args: Any, out: Any) -> int:
    gradient, x, w, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
    return int(sum(wanted[:2]) * convolution_flop(x.shape, w.shape, gradient.shape, transposed))


def _grouped(args: Any, out: Any) -> int:
    left, right = args[0], args[1]
    return int(2 * prod(left.shape) * right.shape[-1])


def _attention(args: Any, out: Any) -> int:
    query, key, value = args[0], args[1], args[2]
    return int(2 * prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


def _attention_backward(args: Any, out: Any) -> int:
    query, key, value = args[1], args[2], args[3]
    return int(2 * prod(query.shape[:-1]) * key.shape[-2] * (3 * query.shape[-1] + 2 * value.shape[-1]))


def _lstm(args: Any, out: Any) -> int:
    x, w_input, w_hidden = args[0], args[1], args[2]
    return int(2 * prod(x.shape[:-1]) * (prod(w_input.shape) + prod(w_hidden.shape)))


_FORMULAS: dict[str, Callable[[Sequence[Any], Any], int]] = {
    "mm": lambda args, out: 2 * prod(args[0].shape) * args[1].shape[-1],
    "bmm": lambda args, out: 2 * prod(args[0].shape) * args[1].shape[-1],
    "addmm": lambda args, out: 2 * prod(args[1].shape) * args[2].shape[-1],
    "baddbmm": lambda args, out: 2 * prod(args[1].shape) * args[2].shape[-1],
    "_grouped_mm": _grouped,
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "attention_forward": _attention,
    "attention_backward": _attention_backward,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    "mkldnn_rnn_layer": _lstm,
    "mkldnn_rnn_layer_backward": lambda args, out: 2 * _lstm(args, out),
}


def tensors_in(values: Any) -> list[torch.Tensor]:
    """Every tensor among the arguments or results of an op, lists opened.

    >>> len(tensors_in((torch.zeros(1), [torch.zeros(2), None], 3)))
    2
    """
    if isinstance(values, torch.Tensor):
        return [values]
    if isinstance(values, list | tuple):
        return [tensor for value in values for tensor in tensors_in(value)]
    return []
