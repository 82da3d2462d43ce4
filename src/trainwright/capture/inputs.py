"""The example input, described by text: ``input_ids=int64[batch,seq]<50257``, ``float32[batch,3,224,224]``.

Dimensions are whole numbers, ``batch``, ``seq``, and sums, products and whole quotients of them (``2*seq+1``). What
grows with batch and sequence is thereby known. ``<`` bounds the integers, where real ones must be drawn.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainwright.errors import InvalidInputError, unknown_name

DTYPES = {
    "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64,
    "int64": torch.int64, "int32": torch.int32, "uint8": torch.uint8, "bool": torch.bool,
}  # fmt: skip

_TEXT = re.compile(r"^\s*(?:([A-Za-z_]\w*)\s*=\s*)?([a-z]+\d*)\s*\[([^\]]*)\]\s*(?:<\s*(\d+))?\s*$")
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv}
_HINT = "write it like 'input_ids=int64[batch,seq]<50257' or 'float32[batch,3,224,224]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One tensor that the module takes: by name, or by position where the name is None."""

    dims: tuple[str, ...]
    dtype: torch.dtype = torch.float32
    name: str | None = None
    below: int | None = None

    def shape(self, batch: int, seq: int) -> tuple[int, ...]:
        """The shape for this batch and sequence length."""
        return tuple(_value(ast.parse(dim, mode="eval").body, {"batch": batch, "seq": seq}, dim) for dim in self.dims)

    @property
    def has_seq(self) -> bool:
        """Whether a dimension grows with the sequence."""
        return any("seq" in dim for dim in self.dims)


def parse_input(text: str) -> Input:
    """An input from text.

    >>> parse_input("ids=int64[batch,2*seq]<100").shape(3, 8)
    (3, 16)
    """
    match = _TEXT.match(text)
    if match is None:
        raise InvalidInputError(f"{text!r} is not an input", hint=_HINT)
    name, dtype, dims, below = match.groups()
    if dtype not in DTYPES:
        raise unknown_name("dtype of an input", dtype, DTYPES)
    found = Input(
        name=name,
        dtype=DTYPES[dtype],
        dims=tuple(dim.strip() for dim in dims.split(",") if dim.strip()),
        below=int(below) if below else None,
    )
    found.shape(2, 16)
    return found


def _value(node: ast.expr, known: dict[str, int], text: str) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        found = _OPERATORS[type(node.op)](_value(node.left, known, text), _value(node.right, known, text))
        return int(found)
    raise InvalidInputError(f"{text!r} is not a dimension", hint="use whole numbers, batch, seq, and + - * // of them")


def parse_dims_of(example: Sequence[Any] | dict[str, Any]) -> tuple[tuple[Input, ...], int, int | None]:
    """Inputs, batch and sequence read off real or meta tensors: the first dimension is the batch, the second of
    integer tensors the sequence; everything else is fixed."""
    items = list(example.items()) if isinstance(example, dict) else [(None, tensor) for tensor in example]
    tensors = [(name, tensor) for name, tensor in items if isinstance(tensor, torch.Tensor)]
    if not tensors or tensors[0][1].dim() == 0:
        raise InvalidInputError("the example holds no tensor with a batch dimension", hint=_HINT)
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
        inputs.append(Input(name=name, dtype=tensor.dtype, dims=tuple(dims)))
    return tuple(inputs), batch, seq


def example_of(inputs: Sequence[Input], batch: int, seq: int, device: str = "meta") -> dict[str | int, Any]:
    """Tensors of these shapes: nothing on meta, else zeros mean 0 (floats are drawn, integers below their bound)."""
    found: dict[str | int, Any] = {}
    for position, each in enumerate(inputs):
        shape = each.shape(batch, seq)
        key: str | int = each.name if each.name is not None else position
        if device == "meta":
            found[key] = torch.empty(shape, dtype=each.dtype, device="meta")
        elif each.dtype.is_floating_point:
            found[key] = torch.randn(shape, device=device).to(each.dtype)
        else:
            found[key] = torch.randint(0, each.below or 2, shape, device=device).to(each.dtype)
    return found
