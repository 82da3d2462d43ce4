"""Build a module without its weights: what is large goes to meta, what is small and read while building is real."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainwright.capture.flop import tensors_in
from trainwright.capture.guess import user_line
from trainwright.errors import InvalidInputError

LARGE = 16_384
"""Elements from which a tensor made while building goes to meta. Drop-path rates and the like stay real."""

_DRAWS = frozenset({"aten::normal_", "aten::uniform_"})
"""First weights are nothing on meta, and torch's own way of drawing them there imports its compiler (a second)."""


class _LargeOnMeta(TorchDispatchMode):
    """Sends every large tensor a builder makes to meta, and whatever meets one."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as in capture/trace.py

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = tensors_in(args)
        if not inputs and args and isinstance(args[0], list | tuple) and prod(args[0]) >= LARGE:
            kwargs = {**kwargs, "device": "meta"}
        elif any(t.is_meta for t in inputs):
            if func._schema.name == "aten::_local_scalar_dense":
                raise InvalidInputError(
                    f"the builder reads a value of a large tensor at {user_line()}",
                    hint="read values when the model runs, not when it is built; or pass a built module to capture()",
                )
            if func._schema.name in _DRAWS:
                return args[0]
            args = torch.utils._pytree.tree_map_only(Tensor, lambda t: t if t.is_meta else t.to("meta"), args)
        return func(*args, **kwargs)


def built_on_meta(module: nn.Module | Callable[[], Any]) -> nn.Module:
    """The module itself where it is on meta, else a copy of it there; a function is called to build one."""
    if isinstance(module, nn.Module):
        return module if all(p.is_meta for p in module.parameters()) else _moved(_copied(module))
    with _LargeOnMeta():  # type: ignore[no-untyped-call]
        built = module()
    if not isinstance(built, nn.Module):
        what = getattr(module, "__name__", "the function")
        raise InvalidInputError(
            f"{what} returned {type(built).__name__}, not a torch.nn.Module",
            hint=f"end {what} with the module itself: return model",
        )
    return _moved(built)


def _copied(module: nn.Module) -> nn.Module:
    """A copy whose tensors are on meta; ties between parameters stay."""
    import copy

    memo = {id(t): _on_meta(t) for t in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, memo)


def _on_meta(tensor: Tensor) -> Tensor:
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(tensor.data.to("meta"), requires_grad=tensor.requires_grad)
    return tensor.detach().to("meta")


def _moved(module: nn.Module) -> nn.Module:
    moved: dict[int, Tensor] = {}
    for child in module.modules():
        for table in (child._parameters, child._buffers):
            real = {name: t for name, t in table.items() if t is not None and not t.is_meta}
            table.update({name: moved.setdefault(id(t), _on_meta(t)) for name, t in real.items()})  # type: ignore[misc]
    return module
