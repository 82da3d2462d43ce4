"""The example that a module is captured on, from inputs described by text (jobs/inputs.py) or read off tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trainwright.errors import InvalidInputError
from trainwright.jobs.inputs import HINT, Input


def parse_dims_of(example: Sequence[Any] | dict[str, Any]) -> tuple[tuple[Input, ...], int, int | None]:
    """Inputs, batch and sequence read off real or meta tensors: the first dimension is the batch, the second of
    integer tensors the sequence; everything else is fixed."""
    items = list(example.items()) if isinstance(example, dict) else [(None, tensor) for tensor in example]
    tensors = [(name, tensor) for name, tensor in items if isinstance(tensor, torch.Tensor)]
    if not tensors or tensors[0][1].dim() == 0:
        raise InvalidInputError("the example holds no tensor with a batch dimension", hint=HINT)
    batch = int(tensors[0][1].shape[0])
    ids = [t for _, t in tensors if t.dim() == 2 and not t.dtype.is_floating_point and t.shape[0] == batch]
    seq = int(ids[0].shape[1]) if ids else None
    inputs = []
    for name, tensor in tensors:
        dims = [str(size) for size in tensor.shape]
        if dims and tensor.shape[0] == batch:
            dims[0] = "batch"
        if tensor.dim() >= 2 and not tensor.dtype.is_floating_point and tensor.shape[1] == seq:
            dims[1] = "seq"
        inputs.append(Input(name=name, dtype=str(tensor.dtype).removeprefix("torch."), dims=tuple(dims)))
    return tuple(inputs), batch, seq


def example_of(
    inputs: Sequence[Input], batch: int, seq: int, device: str = "meta", generator: torch.Generator | None = None
) -> dict[str | int, Any]:
    """Tensors of these shapes: nothing on meta, else zeros mean 0 (floats are drawn, integers below their bound)."""
    found: dict[str | int, Any] = {}
    for position, each in enumerate(inputs):
        shape = each.shape(batch, seq)
        key: str | int = each.name if each.name is not None else position
        dtype: torch.dtype = getattr(torch, each.dtype)
        if device == "meta":
            found[key] = torch.empty(shape, dtype=dtype, device="meta")
        elif dtype.is_floating_point:
            found[key] = torch.randn(shape, device=device, generator=generator).to(dtype)
        else:
            found[key] = torch.randint(0, each.below or 2, shape, device=device, generator=generator).to(dtype)
    return found
