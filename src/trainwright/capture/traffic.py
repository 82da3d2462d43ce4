"""Bytes that an op reads and writes, and what of it its shapes do not tell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_NOTHING_READ = frozenset({"zero_", "fill_", "normal_", "uniform_", "bernoulli_", "exponential_", "random_"})
_GATHERS = frozenset({"embedding", "gather", "index_select", "index", "take", "_unsafe_index"})


def has_channels_last(x: Tensor) -> bool:
    """Whether images lie with their channels side by side."""
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def traffic(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> tuple[int, int]:
    """Bytes read and written, each storage once, and no more of it than the tensor shows or the storage holds."""
    written = sum(t.numel() * t.element_size() for t in outputs)
    reads: dict[int, int] = {}
    for position, tensor in enumerate(inputs):
        storage = tensor.untyped_storage()
        n_bytes = min(tensor.numel() * tensor.element_size(), storage.nbytes())
        if position == 0 and name in _NOTHING_READ | {"copy_"}:
            continue
        if position == 0 and name in _GATHERS:
            n_bytes = min(n_bytes, written)
        reads[storage._cdata] = max(reads.get(storage._cdata, 0), n_bytes)
    return sum(reads.values()), written


def detail(name: str, args: Any) -> tuple[Any, ...]:
    """What the shapes do not tell: a convolution's groups and layout, a power, whether attention is causal."""
    if name == "convolution":
        return (args[6], args[8], has_channels_last(args[0]), max(args[3], default=1) > 1)
    if name == "pow":
        return (float(args[1]),) if isinstance(args[1], int | float) else ()
    if name == "attention_forward":
        return (args[4],)
    return ()
