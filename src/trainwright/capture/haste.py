"""What a process that captures once and ends can do without: looking for cycles of garbage, and torch's compiler."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"


def make_haste() -> None:
    """Spare this process a second. For one that ends soon and compiles nothing; others leave it alone.

    Much of torch is wrapped in "not to be compiled", and the first call of such a wrapper imports the compiler to say
    so to it; transformers' decorators do the same. Here the wrapped function is handed back as it is.
    """
    gc.disable()
    sys.modules.setdefault(COMPILER, _NoCompiler(COMPILER))


class _NoCompiler(ModuleType):
    """Stands where the compiler would be, until more than its decorators is asked of it: then it is imported."""

    def disable(self, fn: Callable[..., Any] | None = None, *_args: Any, **_kwargs: Any) -> Callable[..., Any]:
        """The function itself; or, called with arguments only, what hands it back."""
        return fn if fn is not None else lambda wrapped: wrapped

    def assume_constant_result(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself."""
        return fn

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]
        return getattr(importlib.import_module(COMPILER), name)
