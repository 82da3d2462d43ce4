"""Context parallel: each process works on its stretch of every sequence; only attention needs the others.

``all_to_all``: queries, keys and values change from stretches of all heads to whole sequences of some heads, and the
output changes back (Ulysses: Jacobs et al., arXiv:2309.14509). ``ring``: keys and values travel round the processes,
each attending with its own queries (ring.py). With attention dropout, and on devices other than the CPU, they are
gathered instead: the same result and traffic, without overlap and with all keys in memory at once.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainwright.errors import InvalidInputError
from trainwright.runtime.collective import WIRE, Group
from trainwright.runtime.differentiable import gather_seq
from trainwright.runtime.ring import ring_attention

NAME = "trainwright_context_parallel"


def divide_attention(model: nn.Module, group: Group, index: int, size: int, kind: str) -> None:
    """Make the model's attention reach over the group; inputs must then be stretches with their position_ids."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    config: Any = getattr(model, "config", None)
    if config is None or getattr(config, "max_position_embeddings", None) is None:
        raise InvalidInputError(
            f"context parallel does not know the positions of {type(model).__name__}",
            hint="use cp 1; it works for Hugging Face models with position_ids",
        )
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    if kind == "all_to_all" and heads % size:
        raise InvalidInputError(
            f"cp {size} by all_to_all does not divide the model's {heads} key and value heads",
            hint='use cp_kind "ring", or a cp that divides',
        )
    attend = _attend_whole if kind == "all_to_all" else _attend_round
    ALL_ATTENTION_FUNCTIONS.register(NAME, partial(attend, sdpa_attention_forward, group, index, size))
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _no_mask)
    config._attn_implementation_internal = NAME


def stretch(tensor: Tensor, index: int, size: int) -> Tensor:
    """This process's stretch of sequences [batch, seq, ...]."""
    if size == 1:
        return tensor
    if tensor.shape[1] % size:
        raise InvalidInputError(
            f"sequences of {tensor.shape[1]} do not divide over cp {size}", hint="choose a length that divides"
        )
    return tensor.chunk(size, dim=1)[index]


def positions_of(ids: Tensor, index: int, size: int) -> dict[str, Tensor]:
    """What tells a model where a stretch of ids [batch, n] begins; nothing where sequences are whole.

    >>> positions_of(torch.zeros(1, 2), 1, 2)["position_ids"].tolist()
    [[2, 3]]
    """
    n = ids.shape[1]
    return {} if size == 1 else {"position_ids": torch.arange(index * n, (index + 1) * n, device=ids.device)[None]}


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    return None


def _attend_whole(
    inner: Any, group: Group, _index: int, size: int, module: Any, *qkv_and_mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    query, key, value = (_to_heads(t, group, size) for t in qkv_and_mask[:3])
    out, _ = inner(module, query, key, value, None, **kwargs)
    back = _to_seq(out.transpose(1, 2), group, size)
    return back.transpose(1, 2).contiguous(), None


def _attend_round(
    inner: Any, group: Group, index: int, _size: int, module: Any, *qkv_and_mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    query, key, value = qkv_and_mask[:3]
    if query.device.type == "cpu" and not kwargs.get("dropout"):
        causal = bool(getattr(module, "is_causal", False))
        ringed = ring_attention((query, key, value), group, causal=causal, scale=kwargs.get("scaling"))
        return ringed.transpose(1, 2).contiguous(), None
    whole_key, whole_value = gather_seq(key, group, 2), gather_seq(value, group, 2)
    mask = None
    if getattr(module, "is_causal", False):
        n_queries, n_keys = query.shape[2], whole_key.shape[2]
        mask = torch.ones(n_queries, n_keys, dtype=torch.bool, device=query.device).tril(index * n_queries)[None, None]
    out, _ = inner(module, query, whole_key, whole_value, mask, **{**kwargs, "is_causal": False})
    return out, None


class _Exchange(torch.autograd.Function):
    """Part i of the first dimension goes to process i; backward sends gradients the same way back."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return _exchange(parts, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _exchange(grads[0], ctx.group), None


def _exchange(parts: Tensor, group: Group) -> Tensor:
    source = parts.contiguous()
    received = torch.empty_like(source)
    with WIRE.running("cp all_to_all"):
        dist.all_to_all_single(received, source, group=group)
    return received


def _to_heads(tensor: Tensor, group: Group, size: int) -> Tensor:
    """[batch, heads, stretch, d] to [batch, heads / size, seq, d]."""
    batch, heads, n, d = tensor.shape
    parts = tensor.reshape(batch, size, heads // size, n, d).permute(1, 0, 2, 3, 4)
    received: Tensor = _Exchange.apply(parts, group)  # type: ignore[no-untyped-call]
    return received.permute(1, 2, 0, 3, 4).reshape(batch, heads // size, size * n, d)


def _to_seq(tensor: Tensor, group: Group, size: int) -> Tensor:
    """[batch, heads / size, seq, d] to [batch, heads, stretch, d]."""
    batch, heads, n, d = tensor.shape
    parts = tensor.reshape(batch, heads, size, n // size, d).permute(2, 0, 1, 3, 4)
    received: Tensor = _Exchange.apply(parts, group)  # type: ignore[no-untyped-call]
    return received.permute(1, 0, 2, 3, 4).reshape(batch, size * heads, n // size, d)
