"""Images to be told the class of: the files below a folder, or those that a CSV names."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainwright.data.listing import FILE_COLUMNS
from trainwright.data.picture import SUFFIXES, enlarged, read_picture
from trainwright.errors import DataError


def unlabelled(source: Path, size: int, channels: int) -> tuple[tuple[str, ...], NDArray[np.uint8], str | None]:
    """Names relative to the source, pixels [n, channels, size, size], and what was said of small ones.

    One that cannot be read is an error.
    """
    root, names = (source.parent, _named(source)) if source.suffix.lower() == ".csv" else (source, _below(source))
    if not names:
        raise DataError(f"no images to classify in {source}", hint=f"files such as {', '.join(SUFFIXES[:4])}, or a CSV")
    read = [read_picture(root / name, size, channels) for name in names]
    return names, np.stack([picture.pixels for picture in read]), enlarged(read, size)


def _below(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES))


def _named(source: Path) -> tuple[str, ...]:
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {source}: {error}", hint="a CSV with a column of files, UTF-8") from error
    columns = {name.strip().casefold(): name for name in rows[0] if name} if rows else {}
    column = next((columns[name] for name in FILE_COLUMNS if name in columns), None)
    if column is None:
        raise DataError(
            f"{source} has no column of files", hint=f"name it {' or '.join(FILE_COLUMNS[:3])}, above at least one row"
        )
    return tuple(row[column].strip() for row in rows)
