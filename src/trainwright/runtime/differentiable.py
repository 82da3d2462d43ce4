"""Collectives inside forward and backward: each function's backward is its conjugate.

    enter_columns   forward: nothing                      backward: sum over the group
    sum_rows        forward: sum over the group           backward: nothing
    gather_seq      forward: gather along a dimension     backward: sum, keep own part (reduce-scatter)
    scatter_seq     forward: sum, keep own part           backward: gather
    keep_part       forward: keep own part                backward: gather (of a value all hold alike)
    gather_parts    forward: gather                       backward: keep own part (of a gradient all hold alike)

Shoeybi et al., arXiv:1909.08053 (the first two, there f and g); Korthikanti et al., arXiv:2205.05198 (the next two).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from trainwright.runtime.collective import WIRE, Group, all_reduce, axis_of, gather_into, scatter_into


def _sum(tensor: Tensor, group: Group) -> Tensor:
    return all_reduce(tensor.clone(memory_format=torch.contiguous_format), group)


def _gather(tensor: Tensor, group: Group, dim: int) -> Tensor:
    n = dist.get_world_size(group)
    moved = tensor.transpose(0, dim).contiguous()
    whole = moved.new_empty((n * moved.shape[0], *moved.shape[1:]))
    with WIRE.running(f"{axis_of(group)} all_gather"):
        gather_into(whole, moved, group=group)
    return whole.transpose(0, dim).contiguous()


def _sum_part(tensor: Tensor, group: Group, dim: int) -> Tensor:
    n = dist.get_world_size(group)
    moved = tensor.transpose(0, dim).contiguous()
    part = moved.new_empty((moved.shape[0] // n, *moved.shape[1:]))
    with WIRE.running(f"{axis_of(group)} reduce_scatter"):
        scatter_into(part, moved, group=group)
    return part.transpose(0, dim).contiguous()


def _part(tensor: Tensor, group: Group, dim: int) -> Tensor:
    n, index = dist.get_world_size(group), dist.get_rank(group)
    return tensor.chunk(n, dim)[index].contiguous()


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _sum(grads[0], ctx.group), None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Group) -> Tensor:
        return _sum(tensor, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Group, dim: int, alike: bool) -> Tensor:
        ctx.group, ctx.dim, ctx.alike = group, dim, alike
        return _gather(tensor, group, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        back = _part if ctx.alike else _sum_part
        return back(grads[0], ctx.group, ctx.dim), None, None, None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Group, dim: int, alike: bool) -> Tensor:
        ctx.group, ctx.dim = group, dim
        return _part(tensor, group, dim) if alike else _sum_part(tensor, group, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _gather(grads[0], ctx.group, ctx.dim), None, None, None


def enter_columns(tensor: Tensor, group: Group) -> Tensor:
    """Before column-divided weights: every process reads the whole input, its gradient is the sum of theirs."""
    return _Enter.apply(tensor, group)  # type: ignore[no-any-return, no-untyped-call]


def sum_rows(tensor: Tensor, group: Group) -> Tensor:
    """After row-divided weights: the output is the sum of what each process made."""
    return _Sum.apply(tensor, group)  # type: ignore[no-any-return, no-untyped-call]


def gather_seq(tensor: Tensor, group: Group, dim: int = 1) -> Tensor:
    """Sequence parallel, before column-divided weights."""
    return _Gather.apply(tensor, group, dim, False)  # type: ignore[no-any-return, no-untyped-call]


def scatter_seq(tensor: Tensor, group: Group, dim: int = 1) -> Tensor:
    """Sequence parallel, after row-divided weights."""
    return _Scatter.apply(tensor, group, dim, False)  # type: ignore[no-any-return, no-untyped-call]


def keep_part(tensor: Tensor, group: Group, dim: int = 1) -> Tensor:
    """Into a sequence-parallel region, from a value that all hold alike."""
    return _Scatter.apply(tensor, group, dim, True)  # type: ignore[no-any-return, no-untyped-call]


def gather_parts(tensor: Tensor, group: Group, dim: int = 1) -> Tensor:
    """Out of a sequence-parallel region, into computation that all do alike."""
    return _Gather.apply(tensor, group, dim, True)  # type: ignore[no-any-return, no-untyped-call]
