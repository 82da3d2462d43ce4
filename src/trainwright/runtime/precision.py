"""The number format of forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from trainwright.errors import InvalidInputError

FP8_SINCE, TF32_SINCE = (8, 9), (8, 0)
"""Compute capability of the first GPUs that have these (NVIDIA, CUDA programming guide, table of capabilities)."""

Precision = Callable[[], AbstractContextManager[object]]
"""Makes the context in which forward runs."""


def precision(name: str, device_type: str = "cpu") -> Precision:
    """fp32, bf16 or fp16: parameters, gradients and optimizer states stay fp32; matmuls, attention run in it.

    fp8: linear layers inside blocks multiply in it (fp8.py), all else as in bf16. tf32 is how NVIDIA's tensor cores
    multiply fp32. Raises InvalidInputError with the reason where the device cannot.
    """
    if name in ("bf16", "fp16"):
        dtype = torch.bfloat16 if name == "bf16" else torch.float16
        return lambda: torch.autocast(device_type, dtype=dtype)
    if name == "fp8" and device_type == "cuda" and torch.cuda.get_device_capability() >= FP8_SINCE:
        return lambda: torch.autocast(device_type, dtype=torch.bfloat16)
    if name == "tf32" and device_type == "cuda" and torch.cuda.get_device_capability() >= TF32_SINCE:
        torch.set_float32_matmul_precision("high")
        return nullcontext
    if name == "fp32":
        return nullcontext
    raise InvalidInputError(
        f"precision {name} does not run on {device_type}: {_WHY.get(name, 'there is no such format')}",
        hint="use fp32 or bf16",
    )


_WHY = {
    "tf32": "it is a mode of NVIDIA's tensor cores since Ampere",
    "fp8": "its matrix products need a GPU of Hopper's or Ada's generation or later",
    "fp4": "its matrix products need a GPU of Blackwell's generation, and are not called here",
}
