"""Collectives of plain tensors, timed: the seconds this process spent in them, and the bytes it put in.

On gloo a collective returns when it is done, so the stopwatch is exact; on CUDA it counts what the host waited.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils import get_total_norm

BUCKET_BYTES = 25 * 2**20
"""Gradients travel together in buckets of this size: large enough that latency does not count."""


class Stopwatch:
    """Seconds spent and bytes sent since the start of the process."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.n_bytes = 0

    @contextmanager
    def running(self, n_bytes: int) -> Iterator[None]:
        """Count the time inside the block."""
        begin = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - begin
        self.n_bytes += n_bytes


WIRE = Stopwatch()
"""Everything that goes through this module is counted here."""

Group = Any  # dist.ProcessGroup, or None for all processes


def all_reduce(tensor: Tensor, group: Group = None, *, largest: bool = False) -> Tensor:
    """Sum (or take the largest) over the group, in place; returns the tensor."""
    with WIRE.running(tensor.nbytes):
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM, group=group)
    return tensor


def sum_gradients(parameters: Sequence[torch.nn.Parameter], group: Group) -> None:
    """Sum every gradient over the group, in buckets.

    A bucket is one new buffer that takes the gradients' place, so besides the gradients only one bucket is alive. The
    gradients of a parameter left out of the loss (grad None) are zeros here, so that all ranks agree on the buckets.
    """
    for bucket in _buckets(parameters):
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in bucket]
        flat = torch.cat([g.reshape(-1) for g in grads])
        del grads
        for parameter, view in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            parameter.grad = view.view_as(parameter)
        all_reduce(flat, group)


def norm_of(tensors: Sequence[Tensor]) -> float:
    """The Euclidean norm of all elements of all tensors here; no collective."""
    return float(get_total_norm(tensors)) if tensors else 0.0


def reduce_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Sum every gradient on process 0, in buckets; elsewhere gradients are gone."""
    for bucket in _buckets(parameters):
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in bucket])
        with WIRE.running(flat.nbytes):
            dist.reduce(flat, 0)
        for parameter, view in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            parameter.grad = view.view_as(parameter) if dist.get_rank() == 0 else None


@torch.no_grad()
def broadcast_together(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Everybody takes the values of process 0, in buckets."""
    for bucket in _buckets(parameters):
        flat = torch.cat([p.reshape(-1) for p in bucket])
        with WIRE.running(flat.nbytes):
            dist.broadcast(flat, 0)
        for parameter, view in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            parameter.copy_(view.view_as(parameter))


def _buckets(parameters: Sequence[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """Consecutive parameters of one dtype, up to BUCKET_BYTES together; one larger than that is alone."""
    bucket: list[torch.nn.Parameter] = []
    n_bytes = 0
    for parameter in reversed(parameters):
        full = bucket and n_bytes + parameter.nbytes > BUCKET_BYTES
        if full or (bucket and bucket[0].dtype != parameter.dtype):
            yield bucket
            bucket, n_bytes = [], 0
        bucket.append(parameter)
        n_bytes += parameter.nbytes
    if bucket:
        yield bucket
