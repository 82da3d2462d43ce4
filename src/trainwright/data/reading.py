"""Listed images read into one array, and what is odd about them: unreadable, too small, there twice."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainwright.data.listing import Listed
from trainwright.data.picture import Picture, enlarged
from trainwright.errors import DataError
from trainwright.jobs.job import ImageData

READERS = 4
"""Threads that decode; Pillow lets go of the interpreter while it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Images [n, channels, size, size] with the number of each one's class, and their names."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]


def read_part(images: Sequence[Listed], classes: Sequence[str], data: ImageData, notes: list[str]) -> Part:
    """These images in the job's size and channels, labels as places in ``classes``; adds to ``notes`` what is off."""
    assert data.size is not None
    assert data.channels is not None
    form, numbers = (data.size, data.channels), {name: number for number, name in enumerate(classes)}
    with ThreadPoolExecutor(READERS) as pool:
        read = list(pool.map(lambda image: _read_one(image, *form), images))
    good = [(image, picture) for image, picture in zip(images, read, strict=True) if not isinstance(picture, str)]
    bad = [problem for problem in read if isinstance(problem, str)]
    if bad and not good:
        raise DataError(f"none of {len(images)} images can be read; {bad[0]}", hint="restore the files")
    if bad:
        notes.append(f"{len(bad)} of {len(images)} images cannot be read and are left out: {'; '.join(bad[:3])}")
    good = _large_enough(good, data, notes)
    shape = (len(good), form[1], form[0], form[0])
    return Part(
        pixels=np.stack([picture.pixels for _, picture in good]) if good else np.zeros(shape, dtype=np.uint8),
        labels=np.array([numbers[image.label] for image, _ in good], dtype=np.int64),
        names=tuple(image.name for image, _ in good),
    )


def _read_one(image: Listed, size: int, channels: int) -> Picture | str:
    try:
        return image.read(size, channels)
    except DataError as error:
        return error.message


def _large_enough(
    read: list[tuple[Listed, Picture]], data: ImageData, notes: list[str]
) -> list[tuple[Listed, Picture]]:
    """What ``data.small`` says becomes of images smaller than the size."""
    assert data.size is not None
    told = enlarged([picture for _, picture in read], data.size)
    if told is None:
        return read
    large = [pair for pair in read if pair[1].side is None or pair[1].side >= data.size]
    if data.small == "refuse" or (data.small == "leave out" and not large):
        first = next(image.name for image, picture in read if picture.side is not None and picture.side < data.size)
        raise DataError(f"{told}; the first is {first}", hint='make data.size smaller, or set data.small = "enlarge"')
    if data.small == "leave out":
        notes.append(f"{told}; data.small leaves them out")
        return large
    notes.append(f'{told} and were enlarged; a smaller data.size, or data.small = "leave out" or "refuse", would not')
    return read


def repeated(train: Part, held_out: Part, classes: Sequence[str]) -> list[str]:
    """Notes on pictures that are there twice: with two labels, or both for training and held out."""
    places: dict[bytes, list[tuple[str, int, bool]]] = defaultdict(list)
    for part, is_held in ((train, False), (held_out, True)):
        for name, label, pixels in zip(part.names, part.labels, part.pixels, strict=True):
            places[hashlib.sha256(pixels.tobytes()).digest()].append((name, int(label), is_held))
    several = [found for found in places.values() if len(found) > 1]
    unlike = [found for found in several if len({label for _, label, _ in found}) > 1]
    leaked = [found for found in several if len({is_held for _, _, is_held in found}) > 1]
    notes = []
    if unlike:
        told = ", ".join(f"{name} ({classes[label]})" for name, label, _ in unlike[0][:3])
        notes.append(f"{len(unlike)} pictures are there with two labels: {told}")
    if leaked:
        told = ", ".join(name for name, _, _ in leaked[0][:3])
        notes.append(f"{len(leaked)} pictures are there both for training and held out, which flatters: {told}")
    return notes
