"""A function that builds a module, from text: ``file.py:function`` or ``package.module:function``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from trainwright.errors import InvalidInputError, nearest

_HINT = "write it like 'model.py:build' or 'package.module:build'"


def load_builder(text: str) -> Callable[[], Any]:
    """The function, imported and checked to take no arguments that must be given."""
    builder = load_function(text)
    _check_arguments(text, builder)
    return builder


def load_function(text: str) -> Callable[..., Any]:
    """The function, imported."""
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        raise InvalidInputError(f"{text!r} names no function", hint=_HINT)
    module = _imported(place)
    if not hasattr(module, name):
        callables = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        near = nearest(name, callables) or callables[:5]
        known = f"it has {', '.join(near)}" if near else "it defines no function"
        raise InvalidInputError(f"{place} has no function {name!r}", hint=f"{known}; {_HINT}")
    builder = getattr(module, name)
    if not callable(builder):
        raise InvalidInputError(f"{text} is {type(builder).__name__}, not a function", hint=_HINT)
    return builder  # type: ignore[no-any-return]


def _check_arguments(text: str, builder: Callable[..., Any]) -> None:
    try:
        parameters = inspect.signature(builder).parameters.values()
    except (TypeError, ValueError):
        return
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [
        p.name for p in parameters if p.default is p.empty and p.kind in (*positional, inspect.Parameter.KEYWORD_ONLY)
    ]
    if needed:
        name = text.rpartition(":")[2]
        raise InvalidInputError(
            f"{text} needs arguments: {', '.join(needed)}",
            hint=f"write a function without: def build(): return {name}({', '.join(f'{n}=...' for n in needed)})",
        )


def _imported(place: str) -> ModuleType:
    path = Path(place)
    if path.suffix == ".py":
        if not path.is_file():
            raise InvalidInputError(f"there is no file {place}", hint=_HINT)
        return _run(place, lambda: _from_file(path))
    try:
        found = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise InvalidInputError(
            f"there is no module {place!r}", hint=f"{_HINT}; a module must be importable from here (PYTHONPATH)"
        )
    return _run(place, lambda: importlib.import_module(place))


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_captured_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    folder = str(path.absolute().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


def _run(place: str, load: Callable[[], ModuleType]) -> ModuleType:
    """Import user code; whatever it raises is told with its line."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise InvalidInputError(
            f"importing {place} failed at {_last_line(error)}: {type(error).__name__}: {error}",
            hint="keep what runs at import (training, reading files, devices) under `if __name__ == '__main__':`",
        ) from error


def _last_line(error: BaseException) -> str:
    step, line = error.__traceback__, place_of(error)
    while step is not None:
        path = step.tb_frame.f_code.co_filename
        if not path.startswith("<") and __file__ != path:
            line = f"{path}:{step.tb_lineno}"
        step = step.tb_next
    return line


def place_of(error: BaseException) -> str:
    """Where a syntax error lies, else nowhere known."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    return "an unknown line"
