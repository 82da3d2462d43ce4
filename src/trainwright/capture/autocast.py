"""What torch.autocast does on a CPU, for meta tensors, which autocast leaves alone."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

_LOWERED = frozenset(
    {
        functional.linear, functional.bilinear, functional.scaled_dot_product_attention,
        torch.conv1d, torch.conv2d, torch.conv3d,
        torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
        torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.addbmm, torch.baddbmm,
        Tensor.matmul, Tensor.__matmul__, Tensor.mm, Tensor.bmm, Tensor.addmm, Tensor.addbmm, Tensor.baddbmm,
    }
)  # fmt: skip
"""Functions whose fp32 inputs are rounded first: docs/source/amp.rst of torch 2.13, ops that autocast on CPUs."""


class Autocast(TorchFunctionMode):
    """While active, products of meta tensors are in the 16-bit ``dtype``; a weight is cast at its first use."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self._cast: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function on inputs rounded as autocast would."""
        kwargs = kwargs or {}
        if func in _LOWERED:
            args, kwargs = tree_map_only(Tensor, self._lowered, (args, kwargs))
        return func(*args, **kwargs)

    def _lowered(self, tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.float32:
            return tensor
        if not isinstance(tensor, nn.Parameter):
            return tensor.to(self.dtype)
        if id(tensor) not in self._cast:
            self._cast[id(tensor)] = tensor.to(self.dtype)
        return self._cast[id(tensor)]
