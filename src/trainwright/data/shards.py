"""Images in shards: tar files as WebDataset writes them, and Parquet as Hugging Face datasets does."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainwright.data.listing import FILE_COLUMNS, LABEL_COLUMNS, Listed, Listing
from trainwright.data.picture import SUFFIXES, read_picture
from trainwright.errors import DataError, MissingExtraError

CLASS_SUFFIXES = (".cls", ".txt")
"""Beside KEY.jpg stands KEY.cls (or .txt) with its class, or KEY.json with a "label"."""
LAYOUT = "KEY.jpg beside KEY.cls (or .txt, or .json with a label), as WebDataset writes them"


def shards_in(source: Path, suffix: str) -> list[Path]:
    """The file itself, or all shards of this suffix right in a folder."""
    return [source] if source.suffix.lower() == suffix else sorted(source.glob(f"*{suffix}"))


def from_tar(source: Path) -> Listing:
    """All images of the tar file, or of those in the folder."""
    images = [image for shard in shards_in(source, ".tar") for image in _of_tar(shard)]
    return _listing(source, images)


def _of_tar(shard: Path) -> list[Listed]:
    try:
        with tarfile.open(shard, "r:") as tar:
            members = {member.name: member for member in tar if member.isfile()}
            found = [(name, _label(tar, members, name), member) for name, member in members.items() if _is_image(name)]
    except (tarfile.TarError, OSError, ValueError) as error:
        raise DataError(f"cannot read {shard}: {error}", hint=f"an uncompressed tar of {LAYOUT}") from error
    for name, label, _ in found:
        if not label:
            raise DataError(f"{name} in {shard} has no class beside it", hint=LAYOUT)
    return [_of_member(shard, name, label or "", (each.offset_data, each.size)) for name, label, each in found]


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _label(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], image: str) -> str | None:
    """The class that stands beside an image; None where nothing does."""
    stem = image.rpartition(".")[0]
    for name in (f"{stem}{suffix}" for suffix in (*CLASS_SUFFIXES, ".json")):
        file = tar.extractfile(members[name]) if name in members else None
        if file is not None:
            text = file.read().decode("utf-8").strip()
            return str(json.loads(text).get("label", "")) if name.endswith(".json") else text
    return None


def _of_member(shard: Path, name: str, label: str, at: tuple[int, int]) -> Listed:
    def read(size: int, channels: int) -> Any:
        with shard.open("rb") as file:
            file.seek(at[0])
            return read_picture(io.BytesIO(file.read(at[1])), size, channels, name=f"{name} in {shard}")

    return Listed(name=f"{shard.name}/{name}", label=label, read=read)


def from_parquet(source: Path) -> Listing:
    """All rows of the Parquet file, or of those in the folder: a column of image bytes and one of labels."""
    try:
        import pyarrow.parquet as parquet
        from pyarrow import ArrowException
    except ImportError:
        raise MissingExtraError("Parquet needs pyarrow", hint="pip install 'trainwright[parquet]'") from None
    images: list[Listed] = []
    for shard in shards_in(source, ".parquet"):
        try:
            table = parquet.read_table(shard)
        except (ArrowException, OSError) as error:
            raise DataError(f"cannot read {shard}: {error}", hint="copy it again") from error
        image = _column(shard, table.column_names, ("image", "img", *FILE_COLUMNS))
        label = _column(shard, table.column_names, LABEL_COLUMNS)
        names = _class_names(table.schema.metadata, label)
        for row, value in enumerate(table.column(label).to_pylist()):
            if value is None:
                raise DataError(f"row {row} of {shard} has no {label}", hint="fill it in, or leave the row out")
            images.append(_of_row(shard, row, names[value] if names else str(value), table.column(image)))
    return _listing(source, images)


def _column(shard: Path, columns: Sequence[str], known: Sequence[str]) -> str:
    for name in known:
        if name in columns:
            return name
    raise DataError(f"{shard} has columns {', '.join(columns)}", hint=f"name one of them {' or '.join(known[:3])}")


def _class_names(metadata: dict[bytes, bytes] | None, label: str) -> list[str]:
    """Names of class numbers, where datasets wrote them into the file."""
    about = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    names = about.get("info", {}).get("features", {}).get(label, {}).get("names", [])
    return [str(name) for name in names]


def _of_row(shard: Path, row: int, label: str, column: Any) -> Listed:
    def read(size: int, channels: int) -> Any:
        value = column[row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise DataError(f"row {row} of {shard} holds no image bytes", hint="store the files' bytes")
        return read_picture(io.BytesIO(content), size, channels, name=f"row {row} of {shard}")

    return Listed(name=f"{shard.name}/{row:08d}", label=label, read=read)


def _listing(source: Path, images: list[Listed]) -> Listing:
    if not images:
        raise DataError(f"no images in {source}", hint="shards hold at least one image with its class")
    return Listing(images=tuple(images), classes=tuple(sorted({image.label for image in images})))
