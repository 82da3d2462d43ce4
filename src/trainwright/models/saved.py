"""What a forward keeps for its backward, in bytes."""

from __future__ import annotations

from collections.abc import Mapping

from trainwright.models.spec import Op, SavedDtype
from trainwright.units import Number

FP32: Mapping[SavedDtype, float] = {"compute": 4, "parameter": 4, "fp32": 4, "int64": 8, "bool": 1}
AUTOCAST: Mapping[SavedDtype, float] = {"compute": 2, "parameter": 4, "fp32": 4, "int64": 8, "bool": 1}
HALF: Mapping[SavedDtype, float] = {"compute": 2, "parameter": 2, "fp32": 4, "int64": 8, "bool": 1}
"""Bytes of an element of each kind: in fp32; in bf16 autocast over fp32 parameters; with bf16 parameters."""


def op_saved_bytes(op: Op, batch: Number, seq: Number, widths: Mapping[SavedDtype, float] = HALF) -> Number:
    """Bytes that one op adds to what a micro-batch keeps.

    >>> from trainwright.models.ops import linear
    >>> op_saved_bytes(linear("mlp_in", 64, 256), 2, 10)
    2560.0
    """
    return sum((tensor.elements.at(batch, seq) * widths[tensor.dtype] for tensor in op.saved), start=0.0)
