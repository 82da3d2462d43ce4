"""Image files in the run folder, made once: decoded, resized and split, what a run and every restart of it reads.

``data/`` in a run folder holds train.npy and held_out.npy (uint8, [n, channels, size, size]) and, written last,
data.json: labels, classes, names, mean and deviation of the channels, and what was wrong with the files.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.data.listing import Listed, Listing, list_images
from trainwright.data.reading import Part, read_part, repeated
from trainwright.errors import DataError
from trainwright.jobs.job import ImageData

SCHEMA_VERSION = 1
IMBALANCE = 3.0
"""The largest class holds so many times the smallest: worth a note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The images of a run, memory-mapped. ``mean`` and ``deviation`` are of the training pixels, in [0, 1]."""

    train: Part
    held_out: Part
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """Training images of each class."""
        return tuple(int(n) for n in np.bincount(self.train.labels, minlength=len(self.classes)))


def split(listing: Listing, data: ImageData, seed: int) -> tuple[list[Listed], list[Listed]]:
    """(training, held out): by the hash of an image's name within each class, or one fold of ``data.folds``.

    The held-out images do not depend on the seed; which ``per_class`` training images are taken does.
    """
    by_class: dict[str, list[Listed]] = defaultdict(list)
    for image in listing.images:
        by_class[image.label].append(image)
    training: list[Listed] = []
    held: list[Listed] = []
    for name in listing.classes:
        ranked = sorted(by_class[name], key=lambda image: _hash("held out", image.name))
        if data.folds is not None and len(ranked) < data.folds:
            n = len(ranked)
            raise DataError(
                f"class {name} has {n} image{'s' * (n != 1)}, too few for {data.folds} folds",
                hint=f"use at most {n} folds, or add images" if n > 1 else "add images of it, or leave the class out",
            )
        held_here, rest = _cut(ranked, data)
        rest.sort(key=lambda image: _hash(str(seed), image.name))
        training += rest[: data.per_class]
        held += held_here
    return sorted(training, key=lambda image: image.name), sorted(held, key=lambda image: image.name)


def _cut(ranked: list[Listed], data: ImageData) -> tuple[list[Listed], list[Listed]]:
    if data.folds is not None:
        rest = [image for place, image in enumerate(ranked) if place % data.folds != data.fold]
        return ranked[data.fold :: data.folds], rest
    n_held = min(round(data.held_out_share * len(ranked)), len(ranked) - 1)
    return ranked[:n_held], ranked[n_held:]


def _hash(salt: str, name: str) -> bytes:
    return hashlib.sha256(f"{salt}\0{name}".encode()).digest()


def prepare_images(folder: Path, data: ImageData, seed: int) -> Images:
    """Make ``folder`` (a run's data folder), or check that settings and files are what they were, and open it.

    ``data.size`` and ``data.channels`` must be known by now. Images that cannot be read are left out and named.
    """
    assert data.size is not None
    assert data.channels is not None
    listing = list_images(data)
    training, held = split(listing, data, seed)
    settings = {key: str(value) for key, value in asdict(data).items()} | {"seed": str(seed)}
    names = hashlib.sha256("\0".join(image.name for image in (*training, *held)).encode()).hexdigest()
    record = folder / "data.json"
    if record.exists():
        fields = json.loads(record.read_text(encoding="utf-8"))
        _check_unchanged(fields, settings, names)
        return open_images(folder)
    folder.mkdir(parents=True, exist_ok=True)
    notes = [*listing.notes, *_imbalance(listing, training)]
    parts = {}
    for kind, images in (("train", training), ("held_out", held)):
        parts[kind] = read_part(images, listing.classes, data, notes)
        np.save(folder / f"{kind}.npy", parts[kind].pixels)
    notes += repeated(parts["train"], parts["held_out"], listing.classes)
    mean, deviation = statistics(parts["train"].pixels)
    fields = {
        "schema_version": SCHEMA_VERSION,
        "settings": settings,
        "listing": names,
        "classes": listing.classes,
        "mean": mean,
        "deviation": deviation,
        "labels": {kind: part.labels.tolist() for kind, part in parts.items()},
        "names": {kind: part.names for kind, part in parts.items()},
        "notes": notes,
    }
    partial = record.with_suffix(".part")
    partial.write_text(json.dumps(fields), encoding="utf-8")
    partial.replace(record)
    return open_images(folder)


def open_images(folder: Path) -> Images:
    """Open a prepared data folder; the pixels stay on disk."""
    fields = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    parts = {
        kind: Part(
            pixels=np.load(folder / f"{kind}.npy", mmap_mode="r"),
            labels=np.array(fields["labels"][kind], dtype=np.int64),
            names=tuple(fields["names"][kind]),
        )
        for kind in ("train", "held_out")
    }
    return Images(
        train=parts["train"],
        held_out=parts["held_out"],
        classes=tuple(fields["classes"]),
        mean=tuple(fields["mean"]),
        deviation=tuple(fields["deviation"]),
        notes=tuple(fields["notes"]),
    )


def statistics(pixels: NDArray[np.uint8], at_most: int = 2000) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, in [0, 1], over evenly thinned images."""
    thinned = pixels[:: max(len(pixels) // at_most, 1)].astype(np.float64) / 255
    deviation = thinned.std(axis=(0, 2, 3))
    return [float(m) for m in thinned.mean(axis=(0, 2, 3))], [float(max(d, 1e-3)) for d in deviation]


def _imbalance(listing: Listing, training: Sequence[Listed]) -> list[str]:
    counts = Counter(image.label for image in training)
    most, least = max(listing.classes, key=lambda c: counts[c]), min(listing.classes, key=lambda c: counts[c])
    if counts[most] <= IMBALANCE * counts[least]:
        return []
    return [
        f"classes are unequal: {counts[most]} training images of {most}, {counts[least]} of {least}; "
        'data.balance = "weight" or "resample" evens them out'
    ]


def _check_unchanged(fields: dict[str, Any], settings: dict[str, str], names: str) -> None:
    hint = "restore it, or start a new run in another folder"
    if fields.get("schema_version") != SCHEMA_VERSION:
        raise DataError(f"the data folder has schema version {fields.get('schema_version')}, not {SCHEMA_VERSION}")
    for key, was in fields["settings"].items():
        if settings.get(key) != was:
            raise DataError(f"data.{key} changed since the run began: {was} then, {settings.get(key)} now", hint=hint)
    if fields["listing"] != names:
        raise DataError("the images changed since the run began: other files, or other names", hint=hint)
