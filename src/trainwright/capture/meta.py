"""Build a module without its weights: what is large goes to meta, what is small and read while building is real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainwright.capture.explain import line_of
from trainwright.capture.flop import tensors_in
from trainwright.capture.guess import user_line
from trainwright.errors import InvalidInputError, TrainwrightError

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
    what = getattr(module, "__name__", "the function")
    with _LargeOnMeta(), built_by(what):  # type: ignore[no-untyped-call]
        built = module()
    if not isinstance(built, nn.Module):
        raise InvalidInputError(
            f"{what} returned {type(built).__name__}, not a torch.nn.Module",
            hint=f"end {what} with the module itself: return model",
        )
    built = _uncompiled(built)
    lazy = [name for name, p in built.named_parameters() if isinstance(p, nn.UninitializedParameter)]
    if lazy:
        raise InvalidInputError(
            f"{lazy[0]} has no size before its module first runs",
            hint=f"give lazy layers their sizes, or run the module once in {what} before it is returned",
        )
    return _moved(built)


def _uncompiled(module: nn.Module) -> nn.Module:
    """The module with what is compiled replaced by what it was compiled from."""
    for each in list(module.modules()):
        for name, child in each._modules.items():
            each._modules[name] = getattr(child, "_orig_mod", child)
    return getattr(module, "_orig_mod", module)


@contextmanager
def built_by(what: str) -> Iterator[None]:
    """Whatever the user's builder raises is told with its line."""
    try:
        yield
    except TrainwrightError:
        raise
    except Exception as error:  # the edge to user code
        at = f" at {line}" if (line := line_of(error)) else ""
        raise InvalidInputError(
            f"{what} failed{at}: {type(error).__name__}: {error}",
            hint="build the module on the CPU, with nothing but its layers; weights and devices come when it runs",
        ) from error


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
