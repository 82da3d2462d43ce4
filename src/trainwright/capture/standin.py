"""Stand-ins for kernels that a meta tensor would take apart: fused attention, and oneDNN's LSTM on CPU.

On meta, ``scaled_dot_product_attention`` decomposes into products of seq^2 elements, all saved. A flash kernel keeps
query, key, value, output and one logarithm per row (Dao et al., arXiv:2205.14135); so does the stand-in. Where a CPU
really falls back to the products (dropout, a mask that needs a gradient, odd strides), so do we if kernels are the
CPU's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.overrides import TorchFunctionMode

Kernels = Literal["gpu", "cpu"]
"""Whose kernels run: on a CPU attention with dropout is not fused, and an LSTM layer is one oneDNN kernel."""

_LIBRARY = torch.library.Library("trainwright", "DEF")
_LIBRARY.define(
    "attention_forward(Tensor query, Tensor key, Tensor value, Tensor? mask, bool causal) -> (Tensor, Tensor)"
)
_LIBRARY.define(
    "attention_backward(Tensor gradient, Tensor query, Tensor key, Tensor value, Tensor out, Tensor logsum,"
    " Tensor? mask, bool mask_gradient) -> (Tensor, Tensor, Tensor, Tensor)"
)


@torch.library.impl(_LIBRARY, "attention_forward", "Meta")
def _forward(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> tuple[Tensor, Tensor]:
    same = query.shape[-1] == value.shape[-1]
    out = torch.empty_like(query) if same else query.new_empty((*query.shape[:-1], value.shape[-1]))
    return out, query.new_empty(query.shape[:-1], dtype=torch.float32)


@torch.library.impl(_LIBRARY, "attention_backward", "Meta")
def _backward(  # noqa: PLR0913 - the op's own signature
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, logsum: Tensor,
    mask: Tensor | None, mask_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    def heads_inside(like: Tensor) -> Tensor:
        *outer, heads, length, width = like.shape
        return like.new_empty((*outer, length, heads, width)).transpose(-3, -2)

    if query.dim() < 4:
        found = [torch.empty_like(t) for t in (query, key, value)]
    else:
        found = [heads_inside(t) for t in (query, key, value)]
    of_mask = torch.empty_like(mask) if mask is not None and mask_gradient else query.new_empty(0)
    return found[0], found[1], found[2], of_mask


class _Attention(torch.autograd.Function):
    """Fused attention: saves query, key, value, output and the logarithm of each row's sum."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        out, logsum = torch.ops.trainwright.attention_forward(query, key, value, mask, causal)
        ctx.save_for_backward(query, key, value, mask, out, logsum)
        return out  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        query, key, value, mask, out, logsum = ctx.saved_tensors
        wants_mask = ctx.needs_input_grad[3]
        found = torch.ops.trainwright.attention_backward(gradients[0], query, key, value, out, logsum, mask, wants_mask)
        return found[0], found[1], found[2], found[3] if wants_mask else None, None


def _attention(kernels: Kernels, args: Any, kwargs: Any) -> Any:
    given = _ATTENTION_SIGNATURE.bind(*args, **kwargs)
    given.apply_defaults()
    query, key, value, mask, dropout, causal = list(given.arguments.values())[:6]
    needs_products = dropout > 0 or (mask is not None and mask.requires_grad)
    is_plain = query.dim() == 4 and all(t.stride(-1) == 1 for t in (query, key, value))
    if not query.is_meta or (kernels == "cpu" and (needs_products or not is_plain)):
        return functional.scaled_dot_product_attention(*args, **kwargs)
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.where(mask, query.new_zeros(()), query.new_zeros(()))
    return _Attention.apply(query, key, value, mask, causal)  # type: ignore[no-untyped-call]


def _signature(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):  # type: ignore[no-untyped-def]  # noqa: PLR0913
    """The arguments of torch's own function, which is built in and has no signature."""


_ATTENTION_SIGNATURE = inspect.signature(_signature)


def _lstm(kernels: Kernels, args: Any, kwargs: Any) -> Any:
    """One oneDNN kernel per layer and direction, as aten's ``lstm`` does for fp32 on a CPU."""
    x, hx, weights, *rest = args
    if kernels == "gpu" or isinstance(hx, Tensor) or not x.is_meta or len(rest) != 6:  # packed: step by step
        return torch._VF.lstm(*args, **kwargs)
    n_cells = rest[1] * (1 + rest[4])
    if weights[0].dtype != torch.float32 or len(weights) != n_cells * (2 + 2 * rest[0]):
        return torch._VF.lstm(*args, **kwargs)
    return _lstm_layers(x, hx, weights, rest)


def _lstm_layers(x: Tensor, hx: tuple[Tensor, Tensor], weights: list[Tensor], rest: Any) -> Any:
    has_biases, n_layers, dropout, train, bidirectional, batch_first = rest
    directions, hidden = 1 + int(bidirectional), hx[0].shape[-1]
    per_cell = 2 + 2 * has_biases
    y = x.transpose(0, 1) if batch_first else x
    lasts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for layer in range(n_layers):
        outs = []
        for direction in range(directions):
            cell = layer * directions + direction
            w = weights[cell * per_cell : (cell + 1) * per_cell]
            biases = w[2:] if has_biases else [w[0].new_zeros(w[0].shape[0])] * 2
            out, h, c, _ = torch.ops.aten.mkldnn_rnn_layer(
                y, w[0], w[1], *biases, hx[0][cell], hx[1][cell], direction == 1, [], 2, hidden, 1, has_biases,
                False, False, train,
            )  # fmt: skip
            outs.append(out)
            lasts[0].append(h)
            lasts[1].append(c)
        y = torch.cat(outs, -1) if directions > 1 else outs[0]
        if dropout and train and layer < n_layers - 1:
            y = torch.dropout(y, dropout, True)
    return (y.transpose(0, 1) if batch_first else y), torch.stack(lasts[0]), torch.stack(lasts[1])


def grouped_product(left: Tensor, right: Tensor, offs: Tensor | None = None, *rest: Any, **kwargs: Any) -> Tensor:
    """What ``_grouped_mm`` returns; torch's own meta kernel refuses fp32, which the CPU's does not.

    (rows, k) x (experts, k, n): each row by the weights of its group. (k, rows) x (rows, n): one product a group.
    """
    if left.dim() == 2 and right.dim() == 2 and offs is not None:
        return left.new_empty((offs.shape[0], left.shape[0], right.shape[1]))
    return left.new_empty((*left.shape[:-1], right.shape[-1]))


def batch_norm(x: Tensor, *given: Any) -> tuple[Tensor, Tensor, Tensor]:
    """What ``native_batch_norm`` returns, and mean and deviation of each channel where it trains.

    Torch's own rule on meta imports its compiler, which takes a second.
    """
    n = x.shape[1] if given[4] else 0
    return torch.empty_like(x), x.new_empty(n), x.new_empty(n)


def batch_norm_backward(_gradient: Tensor, x: Tensor, *given: Any) -> tuple[Tensor | None, ...]:
    """What ``native_batch_norm_backward`` returns: gradients of input, scale and shift, those that are wanted.

    Torch's own rule on meta takes it apart into thirty ops, a fifth of a second in a ResNet.
    """
    of_input, of_scale, of_shift = given[-1]
    n = x.shape[1]
    return (
        torch.empty_like(x) if of_input else None,
        x.new_empty(n) if of_scale else None,
        x.new_empty(n) if of_shift else None,
    )


SHAPES: dict[str, Callable[..., Any]] = {
    "_grouped_mm": grouped_product,
    "native_batch_norm": batch_norm,
    "native_batch_norm_backward": batch_norm_backward,
}
"""Ops whose results have a shape rule of ours on meta."""


class StandIns(TorchFunctionMode):
    """While active, meta tensors meet the fused kernels that a real device would run."""

    def __init__(self, kernels: Kernels, away: Callable[[Tensor, str], None]) -> None:
        super().__init__()
        self.kernels = kernels
        self.away = away

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the stand-in where there is one, else torch's own function."""
        if func in _AWAY and args[0].is_meta:
            self.away(args[0], func.__name__)
            ones = torch.ones(args[0].shape, dtype=args[0].dtype, device="cpu")
            return func(ones, *args[1:], **(kwargs or {}))
        stand_in = _TABLE.get(func)
        if stand_in is not None:
            return stand_in(self.kernels, args, kwargs or {})
        return func(*args, **(kwargs or {}))


_AWAY = frozenset({Tensor.numpy, Tensor.tolist, Tensor.__array__})
"""Where values leave torch: what is done with them is not seen."""

_TABLE = {functional.scaled_dot_product_attention: _attention, torch._VF.lstm: _lstm}
