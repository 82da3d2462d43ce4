"""A module's inputs, described by text: ``input_ids=int64[batch,seq]<50257``, ``float32[batch,3,224,224]``.

Dimensions are whole numbers, ``batch``, ``seq``, and sums, products and whole quotients of them (``2*seq+1``). What
grows with batch and sequence is thereby known. ``<`` bounds the integers, where real ones must be drawn.
"""

from __future__ import annotations

import ast
import operator
import re
from dataclasses import dataclass

from trainwright.errors import InvalidInputError, unknown_name

DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "uint8", "bool")

_TEXT = re.compile(r"^\s*(?:([A-Za-z_]\w*)\s*=\s*)?([a-z]+\d*)\s*\[([^\]]*)\]\s*(?:<\s*(\d+))?\s*$")
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv}
HINT = "write it like 'input_ids=int64[batch,seq]<50257' or 'float32[batch,3,224,224]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One tensor that the module takes: by name, or by position where the name is None."""

    dims: tuple[str, ...]
    dtype: str = "float32"
    name: str | None = None
    below: int | None = None

    def shape(self, batch: int, seq: int) -> tuple[int, ...]:
        """The shape for this batch and sequence length."""
        return tuple(_value(_parsed(dim), {"batch": batch, "seq": seq}, dim) for dim in self.dims)

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
        raise InvalidInputError(f"{text!r} is not an input", hint=HINT)
    name, dtype, dims, below = match.groups()
    if dtype not in DTYPES:
        raise unknown_name("dtype of an input", dtype, DTYPES)
    found = Input(
        name=name,
        dtype=dtype,
        dims=tuple(dim.strip() for dim in dims.split(",") if dim.strip()),
        below=int(below) if below else None,
    )
    found.shape(2, 16)
    return found


def _parsed(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        raise _not_a_dimension(text) from None


def _value(node: ast.expr, known: dict[str, int], text: str) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        found = _OPERATORS[type(node.op)](_value(node.left, known, text), _value(node.right, known, text))
        return int(found)
    raise _not_a_dimension(text)


def _not_a_dimension(text: str) -> InvalidInputError:
    return InvalidInputError(f"{text!r} is not a dimension", hint="use whole numbers, batch, seq, and + - * // of them")
