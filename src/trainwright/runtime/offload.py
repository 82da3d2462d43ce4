"""Optimizer states in the host's memory: the optimizer moves copies of the weights there (arXiv:2101.06840).

Gradients go down after the backward, the host's cores update, weights come up. Where the model lies in host memory
anyway the copies are the weights themselves, and nothing travels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class HostStates:
    """``local`` are what the optimizer moves: this process's parameters in host memory, pinned beside a GPU."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._there = dict(parameters)
        self.local = {name: nn.Parameter(_at_host(p.detach()), p.requires_grad) for name, p in parameters.items()}

    @torch.no_grad()
    def take_gradients(self) -> None:
        """Bring the gradients down; none is left on the device."""
        for name, parameter in self._there.items():
            grad = parameter.grad
            self.local[name].grad = None if grad is None else grad.to("cpu", non_blocking=True)
            parameter.grad = None
        if torch.cuda.is_initialized():
            torch.cuda.current_stream().synchronize()

    @torch.no_grad()
    def take_parameters(self) -> None:
        """Bring the weights down, after they were filled on the device."""
        for name, parameter in self._there.items():
            if parameter.data_ptr() != self.local[name].data_ptr():
                self.local[name].copy_(parameter)

    @torch.no_grad()
    def give_parameters(self) -> None:
        """Bring the weights up."""
        for name, parameter in self._there.items():
            if parameter.data_ptr() != self.local[name].data_ptr():
                parameter.copy_(self.local[name], non_blocking=True)


def _at_host(tensor: Tensor) -> Tensor:
    if tensor.device.type == "cuda":
        return tensor.to("cpu").pin_memory()
    return tensor
