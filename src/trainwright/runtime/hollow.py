"""A model whose parameters take no memory yet: built, divided, and only then given room for this process's part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule


@contextmanager
def hollow() -> Iterator[None]:
    """Inside, every parameter that a module is given loses its content (device ``meta``); buffers are real.

    Buffers stay because some, such as rotary tables, are in no checkpoint: the model's own constructor computes them.
    """
    register = nn.Module.register_parameter

    def register_hollow(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:
            parameter = nn.Parameter(parameter.data.to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = register_hollow  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def make_room(model: nn.Module, device: torch.device) -> None:
    """Give every parameter without content memory, in place; what is in it is anything. Ties stay ties."""
    if device.type == "meta":
        return
    if not any(parameter.is_meta for parameter in model.parameters()):
        return
    if any(isinstance(module, FSDPModule) for module in model.modules()):
        model._apply(partial(_with_room, device=device))
        return
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        own = {name: p for name, p in module._parameters.items() if p is not None and p.is_meta}
        for name, parameter in own.items():
            if id(parameter) not in made:
                made[id(parameter)] = nn.Parameter(_with_room(parameter.data, device), parameter.requires_grad)
            module._parameters[name] = made[id(parameter)]


def _with_room(tensor: Tensor, device: torch.device) -> Tensor:
    return torch.empty_like(tensor, device=device) if tensor.is_meta else tensor
