"""What a process that captures once and ends can do without: looking for cycles of garbage, and torch's compiler."""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

COMPILER, SOLVER, MODELS = "torch._dynamo", "scipy.optimize", "transformers.models"


def make_haste() -> None:
    """Spare this process a second. For one that ends soon and compiles nothing; others leave it alone.

    Much of torch is wrapped in "not to be compiled", and the first call of such a wrapper imports the compiler to say
    so to it; transformers' decorators do the same. Here the wrapped function is handed back as it is. transformers'
    losses ask for a function of SciPy's that only detectors call, and its package of models reads a thousand folders to
    know what is in them, where a model's own module is asked for by name.
    """
    gc.disable()
    sys.modules.setdefault(COMPILER, _NoCompiler(COMPILER))
    sys.modules.setdefault(SOLVER, _NoSolver(SOLVER))
    sys.modules.setdefault(MODELS, _Package(MODELS))


class _Later(ModuleType):
    """Stands where a module would be, until more is asked of it than it has: then that is imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class _Package(_Later):
    """The same for a package whose own modules may be imported without it. ``__path__``: where they lie."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        first, *rest = name.split(".")
        spec = importlib.util.find_spec(first)
        self.__path__ = [str(Path(place, *rest)) for place in (spec and spec.submodule_search_locations) or ()]


class _NoSolver(_Package):
    """For SciPy's optimizers."""

    def linear_sum_assignment(self, *costs: Any, **more: Any) -> Any:
        """SciPy's own, once it is called."""
        return self.__getattr__("linear_sum_assignment")(*costs, **more)


class _NoCompiler(_Later):
    """For torch's compiler: its decorators do nothing."""

    def disable(self, fn: Callable[..., Any] | None = None, *_args: Any, **_kwargs: Any) -> Callable[..., Any]:
        """The function itself; or, called with arguments only, what hands it back."""
        return fn if fn is not None else lambda wrapped: wrapped

    def allow_in_graph(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself."""
        return fn

    def assume_constant_result(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself."""
        return fn
