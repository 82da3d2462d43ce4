"""Which images there are and what each shows: class folders, a CSV of file and label, shards, or the digits."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainwright.data.picture import SUFFIXES, Picture, read_picture
from trainwright.errors import DataError, MissingExtraError, nearest, unknown_name
from trainwright.jobs.job import ImageData

FILE_COLUMNS = ("file", "filename", "image", "path", "id")
LABEL_COLUMNS = ("label", "class", "species", "target", "category")
DIGITS_SIDE = 8

Reader = Callable[[int, int], Picture]
"""An image for a size and a number of channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One labelled image, not read yet."""

    name: str
    label: str
    read: Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All images with the names of their classes, in an order that depends on names alone."""

    images: tuple[Listed, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Images of each class."""
        found = Counter(image.label for image in self.images)
        return {name: found[name] for name in self.classes}


def list_images(data: ImageData) -> Listing:
    """The job's images; only those of ``data.classes`` where it names some.

    Raises DataError for a source that is missing, without images or with fewer than two classes.
    """
    if data.builtin is not None:
        listing = _builtin(data.builtin)
    else:
        assert data.source is not None
        listing = _from_source(data.source)
    if data.classes:
        listing = _only(listing, data.classes)
    if len(listing.classes) < 2:
        raise DataError(
            f"{data.source or data.builtin} has {len(listing.classes)} class ({', '.join(listing.classes)})",
            hint="a classifier needs at least two: one folder for each, or two labels in the CSV",
        )
    return listing


def _from_source(source: Path) -> Listing:
    from trainwright.data.shards import from_parquet, from_tar, shards_in

    if source.suffix.lower() in (".csv", ".tsv"):
        return _from_csv(source)
    if shards_in(source, ".tar"):
        return from_tar(source)
    return from_parquet(source) if shards_in(source, ".parquet") else _folders(source)


def _only(listing: Listing, wanted: Sequence[str]) -> Listing:
    for name in wanted:
        if name not in listing.classes:
            raise unknown_name("class", name, listing.classes)
    return Listing(
        images=tuple(image for image in listing.images if image.label in wanted),
        classes=tuple(wanted),
        notes=listing.notes,
    )


def _builtin(name: str) -> Listing:
    if name != "digits":
        raise unknown_name("built-in image set", name, ["digits"])
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtraError("the built-in digits come with scikit-learn", hint="pip install scikit-learn") from None
    raw = load_digits()
    images = tuple(
        Listed(name=f"digit {index}", label=str(label), read=_digit_reader(pixels))
        for index, (pixels, label) in enumerate(zip(raw.images, raw.target, strict=True))
    )
    return Listing(images=images, classes=tuple(str(digit) for digit in range(10)))


def _digit_reader(pixels: NDArray[np.float64]) -> Reader:
    def read(size: int, channels: int) -> Picture:
        small = np.asarray(np.round(pixels * (255 / 16)), dtype=np.uint8)
        where = np.minimum(np.arange(size) * DIGITS_SIDE // size, DIGITS_SIDE - 1)
        return Picture(pixels=np.repeat(small[where][:, where][None], channels, axis=0))

    return read


def _folders(source: Path) -> Listing:
    if not source.is_dir():
        raise DataError(f"no such folder of images: {source}", hint="data.images is a folder of class folders or a CSV")
    folders = sorted(p for p in source.iterdir() if p.is_dir() and not p.name.startswith("."))
    images, notes, classes = [], [], []
    for folder in folders:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            notes.append(f"class {folder.name} has no images and is left out")
            continue
        classes.append(folder.name)
        images += [_of_file(path, str(path.relative_to(source)), folder.name) for path in files]
    if not images:
        raise DataError(f"no images below {source}", hint=f"put each class into a folder; {', '.join(SUFFIXES[:4])}")
    return Listing(images=tuple(images), classes=tuple(classes), notes=tuple(notes))


def _of_file(path: Path, name: str, label: str) -> Listed:
    return Listed(name=name, label=label, read=lambda size, channels: read_picture(path, size, channels))


def _from_csv(source: Path) -> Listing:
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if source.suffix.lower() == ".tsv" else ","))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {source}: {error}", hint="a CSV of file and label, UTF-8") from error
    if not rows:
        raise DataError(f"{source} has no rows", hint="a header line, then one line of file and label for each image")
    file_column, label_column = _columns(source, list(rows[0]))
    labels: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        name, label = (row[file_column] or "").strip(), (row[label_column] or "").strip()
        if not name or not label:
            raise DataError(f"{source}:{line} has no {file_column if not name else label_column}", hint="fill it in")
        if labels.setdefault(name, label) != label:
            raise DataError(
                f"{source}:{line}: {name} is labelled {label} here and {labels[name]} before", hint="keep one of them"
            )
    missing = [name for name in labels if not (source.parent / name).is_file()]
    if missing:
        near = nearest(missing[0], [str(p.relative_to(source.parent)) for p in source.parent.rglob("*")][:5000], n=1)
        raise DataError(
            f"{len(missing)} of {len(labels)} images of {source} are missing, the first is {missing[0]}",
            hint=f"paths are relative to the CSV{f'; there is {near[0]}' if near else ''}",
        )
    images = tuple(_of_file(source.parent / name, name, labels[name]) for name in sorted(labels))
    repeated = len(rows) - len(labels)
    notes = (f"{repeated} rows of {source.name} repeat an image with the same label",) if repeated else ()
    return Listing(images=images, classes=tuple(sorted(set(labels.values()))), notes=notes)


def _columns(source: Path, names: list[str]) -> tuple[str, str]:
    folded = {name.strip().casefold(): name for name in names if name}
    file = next((folded[name] for name in FILE_COLUMNS if name in folded), None)
    label = next((folded[name] for name in LABEL_COLUMNS if name in folded), None)
    if file is None or label is None:
        raise DataError(
            f"{source} has columns {', '.join(names)}",
            hint=f"name one of them {' or '.join(FILE_COLUMNS[:3])} and one {' or '.join(LABEL_COLUMNS[:3])}",
        )
    return file, label
