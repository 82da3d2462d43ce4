"""The number format of forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from trainwright.errors import InvalidInputError

Precision = Callable[[], AbstractContextManager[object]]
"""Makes the context in which forward runs."""


def precision(name: str, device_type: str = "cpu") -> Precision:
    """fp32, or bf16: parameters, gradients and optimizer states stay fp32; matmuls and attention run in bf16."""
    if name == "bf16":
        return lambda: torch.autocast(device_type, dtype=torch.bfloat16)
    if name in ("fp32", "tf32"):
        return nullcontext
    raise InvalidInputError(f"precision {name} does not run on {device_type}", hint="use fp32 or bf16")
