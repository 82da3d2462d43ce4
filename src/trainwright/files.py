"""Text files that are whole or absent."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from trainwright.errors import InvalidInputError


def write_text(path: Path, text: str) -> None:
    """Write to a temporary name beside ``path``, flush to disk, rename; folders on the way are made."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise InvalidInputError(
            f"cannot write {path}: {error.strerror}", hint="choose a folder you can write"
        ) from error
