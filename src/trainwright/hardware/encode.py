"""Frozen values to plain JSON and back, by their type hints: dataclasses, tuples, mappings, optionals, literals."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from trainwright.errors import InvalidInputError

Value = TypeVar("Value")


def to_plain(value: Any) -> Any:
    """Dictionaries, lists and scalars, ready for ``json.dumps``.

    >>> from trainwright.hardware.device import Saturation
    >>> to_plain((Saturation(best=0.9, half=2.0), None))
    [{'best': 0.9, 'half': 2.0}, None]
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: type[Value], plain: Any) -> Value:
    """A value of that type from what ``to_plain`` gave; a missing key takes the field's default.

    >>> from trainwright.hardware.device import Saturation
    >>> from_plain(Saturation, {"best": 0.9, "half": 2.0})
    Saturation(best=0.9, half=2.0)
    """
    value: Value = _decode(kind, plain, kind.__name__)
    return value


def _decode(kind: Any, plain: Any, where: str) -> Any:
    origin = get_origin(kind)
    if is_dataclass(kind):
        return _dataclass(kind, plain, where)
    if origin in (Union, types.UnionType):
        return None if plain is None else _decode(get_args(kind)[0], plain, where)
    if origin is tuple:
        return _tuple(get_args(kind), plain, where)
    if origin is not None and origin is not Literal and issubclass(origin, Mapping):
        return {
            key: _decode(get_args(kind)[1], item, f"{where}.{key}") for key, item in _want(dict, plain, where).items()
        }
    return _scalar(kind, plain, where)


def _dataclass(kind: Any, plain: Any, where: str) -> Any:
    given = _want(dict, plain, where)
    hints = get_type_hints(kind)
    odd = sorted(set(given) - set(hints))
    if odd:
        raise InvalidInputError(f"{where} has unknown keys: {', '.join(odd)}", hint="another version wrote this file")
    values = {name: _decode(hints[name], item, f"{where}.{name}") for name, item in given.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise InvalidInputError(f"{where} lacks keys: {error}", hint="another version wrote this file") from error


def _tuple(kinds: tuple[Any, ...], plain: Any, where: str) -> tuple[Any, ...]:
    items = _want(list, plain, where)
    each = [kinds[0]] * len(items) if len(kinds) == 2 and kinds[1] is Ellipsis else list(kinds)
    return tuple(_decode(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(each, items, strict=True)))


def _scalar(kind: Any, plain: Any, where: str) -> Any:
    if kind is float:
        return float(_want((int, float), plain, where))
    if isinstance(kind, type):
        return _want(kind, plain, where)
    return plain


def _want(kind: Any, plain: Any, where: str) -> Any:
    if not isinstance(plain, kind):
        raise InvalidInputError(f"{where} is {plain!r}, of the wrong type", hint="another version wrote this file")
    return plain
