"""Ring attention: keys and values travel round the context-parallel processes while each attends with its own queries.

A process holds two stretches of keys at any time, its own and the one that arrives; results of stretches are joined by
their log-sum-exp, so the outcome is that of attention over whole sequences (Liu et al., arXiv:2310.01889). Backward
goes round once more with the joined log-sum-exp, and gradients of keys and values travel with them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from trainwright.runtime.collective import WIRE, Group

_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def ring_attention(
    qkv: tuple[Tensor, Tensor, Tensor], group: Group, *, causal: bool, scale: float | None = None
) -> Tensor:
    """Attention of this process's queries [batch, heads, stretch, d] over the keys and values of the whole ring.

    Keys and values may have fewer heads than queries (grouped-query attention); they travel as they are.
    """
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        qkv = (qkv[0].to(dtype), qkv[1].to(dtype), qkv[2].to(dtype))
    query, key, value = (tensor.contiguous() for tensor in qkv)
    scale = scale if scale is not None else query.shape[-1] ** -0.5
    out: Tensor = _Ring.apply(query, key, value, group, (causal, scale))  # type: ignore[no-untyped-call]
    return out


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, group: Group, settings: tuple[bool, float]
    ) -> Tensor:
        causal, scale = settings
        n, index = dist.get_world_size(group), dist.get_rank(group)
        out = torch.zeros_like(query, dtype=torch.float32)
        total = torch.full(query.shape[:-1], -torch.inf, device=query.device)
        held = torch.stack([key, value])
        for turn in range(n):
            there = (index - turn) % n
            arriving = _pass_on(held, group) if turn < n - 1 else None
            if there <= index or not causal:
                part, lse = _FLASH(query, *_widened(held, query), 0.0, causal and there == index, scale=scale)
                joined = torch.logaddexp(total, lse)
                out = out * (total - joined).exp()[..., None] + part * (lse - joined).exp()[..., None]
                total = joined
            held = held if arriving is None else arriving.wait()
        out = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, total)
        ctx.settings = group, *settings
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, out, total = ctx.saved_tensors
        group, causal, scale = ctx.settings
        n, index = dist.get_world_size(group), dist.get_rank(group)
        grad_query = torch.zeros_like(query, dtype=torch.float32)
        held = torch.stack([key, value])
        grad_held = torch.zeros_like(held, dtype=torch.float32)
        for turn in range(n):
            there = (index - turn) % n
            arriving = _pass_on(held, group) if turn < n - 1 else None
            if there <= index or not causal:
                wide = _widened(held, query)
                is_causal = causal and there == index
                found = _FLASH_BACKWARD(grads[0].contiguous(), query, *wide, out, total, 0.0, is_causal, scale=scale)
                grad_query += found[0]
                grad_held += torch.stack([_narrowed(found[1], key), _narrowed(found[2], key)])
            grad_held = _pass_on(grad_held, group, tag=1).wait()  # after the last turn they are home
            held = held if arriving is None else arriving.wait()
        grad_key, grad_value = grad_held.to(key.dtype)
        return grad_query.to(query.dtype), grad_key, grad_value, None, None


class _Arriving:
    """A tensor on its way from the process before."""

    def __init__(self, tensor: Tensor, works: list[Any], source: Tensor) -> None:
        self._tensor, self._works, self._source = tensor, works, source

    def wait(self) -> Tensor:
        """It, when it is here and what was sent is gone."""
        with WIRE.running("cp send_recv"):
            for work in self._works:
                work.wait()
        return self._tensor


def _pass_on(tensor: Tensor, group: Group, tag: int = 0) -> _Arriving:
    """Begin to send to the next process of the ring and to receive from the one before."""
    n, index = dist.get_world_size(group), dist.get_rank(group)
    received = torch.empty_like(tensor)
    sent = dist.isend(tensor, group=group, group_dst=(index + 1) % n, tag=tag)
    came = dist.irecv(received, group=group, group_src=(index - 1) % n, tag=tag)
    return _Arriving(received, [sent, came], tensor)


def _widened(held: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values with a head for each of the queries'."""
    times = query.shape[1] // held.shape[2]
    key, value = held if times == 1 else held.repeat_interleave(times, dim=2)
    return key, value


def _narrowed(grad: Tensor, key: Tensor) -> Tensor:
    """Gradients of widened heads, summed to those of the heads they came from."""
    batch, heads, n, d = key.shape
    return grad if grad.shape[1] == heads else grad.view(batch, heads, -1, n, d).sum(2)
