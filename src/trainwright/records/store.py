"""JSON files that are whole or absent, and that fail with their version when they are of another one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError
from trainwright.files import write_text


def write_record(path: Path, kind: str, record: Any) -> None:
    """A dataclass as indented JSON, with its kind first so that a reader can tell files apart."""
    write_text(path, json.dumps({"kind": kind, **asdict(record)}, indent=2) + "\n")


def read_record(path: Path, kind: str, version: int) -> dict[str, Any]:
    """The fields of a record, after its kind and schema version were found right.

    Raises InvalidInputError when the file is absent, is not JSON, is of another kind, or of another version.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInputError(f"there is no {path}", hint=f"give the folder that holds a {kind} record") from None
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInputError(f"{path} is not JSON: {error}", hint="restore it or make it again") from error
    found = data.pop("kind", None) if isinstance(data, dict) else None
    if found != kind:
        raise InvalidInputError(f"{path} is not a {kind} record (it says {found!r})")
    if data.get("schema_version") != version:
        raise InvalidInputError(
            f"{path} has schema version {data.get('schema_version')}, this Trainwright reads {version}",
            hint=f"make it again, or read it with the Trainwright that wrote it ({data.get('trainwright', 'unknown')})",
        )
    return data


def from_fields(path: Path, record_type: type[Any], fields: dict[str, Any]) -> Any:
    """Build a record from read fields; missing or unexpected ones are named."""
    expected = record_type.__dataclass_fields__
    unexpected = sorted(set(fields) - set(expected))
    if unexpected:
        raise InvalidInputError(f"{path}: unexpected {', '.join(unexpected)}", hint=f"known: {', '.join(expected)}")
    try:
        return record_type(**fields)
    except TypeError as error:
        raise InvalidInputError(f"{path}: {error}", hint="make the record again") from error
