"""Collectives of plain tensors, timed by name.

A name is the axis that is crossed and what is done there: ``tp all_reduce``, ``dp reduce_scatter``. On gloo a
collective returns when it is done; on CUDA its place in the stream is timed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils import get_total_norm

from trainwright.runtime.instant import Instant, instant

MOST_SPANS = 100_000
"""Where nobody takes the spans, the oldest are forgotten."""

BUCKET_BYTES = 25 * 2**20
"""Gradients travel together in buckets of this size: large enough that latency does not count."""


@dataclass(frozen=True, slots=True)
class Span:
    """A collective under way: its name, when it began and when it ended."""

    name: str
    begin: Instant
    end: Instant


class Stopwatch:
    """The spans of collectives since they were last taken."""

    def __init__(self) -> None:
        self._spans: deque[Span] = deque(maxlen=MOST_SPANS)

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Count the time inside the block under the name; blocks do not lie in one another."""
        begin = instant()
        yield
        self._spans.append(Span(name, begin, instant()))

    def take(self) -> list[Span]:
        """The spans so far, which are then forgotten."""
        spans = list(self._spans)
        self._spans.clear()
        return spans


WIRE = Stopwatch()
"""Everything that goes through this module is counted here."""

Group = Any  # dist.ProcessGroup, or None for all processes

gather_into: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
scatter_into: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
"""torch 2.13's names, and those of 2.11."""

AGREEMENT = "agreement"
"""What processes say to each other once a step: loss, gradient norm, whether to stop."""

_axis_of: dict[str, str] = {}


def name_group(group: Group, axis: str) -> None:
    """Let what crosses the group be told under the axis's name."""
    _axis_of[group.group_name] = axis


def axis_of(group: Group) -> str:
    """The axis that a group was named for; data parallel where it was not."""
    return "dp" if group is None else _axis_of.get(group.group_name, "dp")


def all_reduce(tensor: Tensor, group: Group = None, *, largest: bool = False, name: str | None = None) -> Tensor:
    """Sum (or take the largest) over the group, in place; returns the tensor."""
    with WIRE.running(name or f"{axis_of(group)} all_reduce"):
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM, group=group)
    return tensor


def sum_gradients(
    parameters: Sequence[torch.nn.Parameter], group: Group, axis: str = "dp", riders: Tensor | None = None
) -> None:
    """Sum every gradient over the group, in buckets.

    A bucket is one new buffer that takes the gradients' place, so besides the gradients only one bucket is alive. The
    gradients of a parameter left out of the loss (grad None) are zeros here, so that all ranks agree on the buckets.
    ``riders``: numbers of the gradients' dtype that travel in the first bucket, summed in place.
    """
    for bucket in _buckets(parameters):
        with WIRE.running(f"{axis} all_reduce"):
            grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in bucket]
            pieces = [g.reshape(-1) for g in grads] + ([] if riders is None else [riders])
            flat = torch.cat(pieces)
            del grads
            views = flat.split([len(piece) for piece in pieces])
            for parameter, view in zip(bucket, views, strict=riders is None):
                parameter.grad = view.view_as(parameter)
            del pieces
            dist.all_reduce(flat, group=group)
        if riders is not None:
            riders.copy_(views[-1])
        riders = None


def norm_of(tensors: Sequence[Tensor]) -> float:
    """The Euclidean norm of all elements of all tensors here; no collective."""
    return float(get_total_norm(tensors)) if tensors else 0.0


def reduce_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Sum every gradient on process 0, in buckets; elsewhere gradients are gone."""
    for bucket in _buckets(parameters):
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in bucket])
        with WIRE.running("dp reduce"):
            dist.reduce(flat, 0)
        for parameter, view in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            parameter.grad = view.view_as(parameter) if dist.get_rank() == 0 else None


@torch.no_grad()
def broadcast_together(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Everybody takes the values of process 0, in buckets."""
    for bucket in _buckets(parameters):
        flat = torch.cat([p.reshape(-1) for p in bucket])
        with WIRE.running("dp broadcast"):
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
