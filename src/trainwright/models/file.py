"""A ``ModelSpec`` as a JSON file, so that what capture found can be priced without torch and the model's code."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError
from trainwright.models.spec import (
    Attention,
    Block,
    CrossEntropy,
    Lookup,
    Matmul,
    ModelSpec,
    Op,
    Pointwise,
    Saved,
    Size,
)

SCHEMA_VERSION = 1
_KIND = "model"
_OPS: dict[str, type[Op]] = {kind.__name__: kind for kind in (Matmul, Attention, Pointwise, Lookup, CrossEntropy)}
_AGAIN = "make it again with `trainwright capture`"


def save_model(model: ModelSpec, path: Path) -> None:
    """Write the spec; what is as usual is left out."""
    record = {"kind": _KIND, "schema_version": SCHEMA_VERSION, **_plain(model)}
    try:
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(
            f"cannot write {path}: {error.strerror}", hint="choose a folder you can write"
        ) from error


def load_model(path: Path) -> ModelSpec:
    """Read a spec that ``save_model`` wrote."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInputError(f"there is no {path}", hint="give a file that `trainwright capture` wrote") from None
    except ValueError as error:
        raise InvalidInputError(f"{path} is not JSON: {error}", hint=_AGAIN) from error
    if not isinstance(record, dict) or record.get("kind") != _KIND:
        raise InvalidInputError(f"{path} holds no captured model", hint="give a file that `trainwright capture` wrote")
    if record.get("schema_version") != SCHEMA_VERSION:
        found = record.get("schema_version")
        raise InvalidInputError(
            f"{path} has schema version {found}, this Trainwright reads {SCHEMA_VERSION}", hint=_AGAIN
        )
    try:
        blocks = tuple(_block(block) for block in record.pop("blocks"))
        values = {key: value for key, value in record.items() if key not in ("kind", "schema_version")}
        if values.get("peak"):
            values["peak"] = Size(**values["peak"])
        return ModelSpec(blocks=blocks, **values)
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{path} is not a whole captured model: {error}", hint=_AGAIN) from error


def is_model_file(path: Path) -> bool:
    """Whether the file says that it is a captured model; its content may still be of another version."""
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return f'"kind": "{_KIND}"' in file.read(200)


def _plain(value: Any) -> Any:
    """Dataclasses as dictionaries without defaults, ops with their kind."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if not hasattr(value, "__dataclass_fields__"):
        return value
    found = {"op": type(value).__name__} if isinstance(value, Op) else {}
    for field in fields(value):
        content = getattr(value, field.name)
        if content != field.default:
            found[field.name] = _plain(content)
    return found


def _block(record: dict[str, Any]) -> Block:
    ops = tuple(_op(op) for op in record["ops"])
    return Block(**{**record, "ops": ops, "boundary": Size(**record["boundary"])})


def _op(record: dict[str, Any]) -> Op:
    kind = _OPS[record["op"]]
    values: dict[str, Any] = {
        key: Size(**value) if isinstance(value, dict) else value for key, value in record.items() if key != "op"
    }
    saved = tuple(Saved(**{**each, "elements": Size(**each["elements"])}) for each in record.get("saved", ()))
    values["saved"] = saved
    return kind(**values)
