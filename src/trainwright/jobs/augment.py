"""The augmentations a job may name, and a chain of them from text: ``["flip", "crop 0.3 1", "mixup 0.2"]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trainwright.errors import nearest

Kind = Literal["geometry", "edges", "colour", "pixels", "mixing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """One entry of the table: its numbers by default, what they may be, what they mean."""

    name: str
    kind: Kind
    defaults: tuple[float, ...]
    least: float
    most: float
    meaning: str


AUGMENTATIONS = (
    Augmentation(name="flip", kind="geometry", defaults=(0.5,), least=0, most=1, meaning="left to right, this share"),
    Augmentation(name="flip_vertical", kind="geometry", defaults=(0.5,), least=0, most=1, meaning="upside down"),
    Augmentation(
        name="crop", kind="geometry", defaults=(0.25, 1.0, 4 / 3), least=0.01, most=4,
        meaning="least and most share of the area, and the most that the aspect is stretched either way",
    ),
    Augmentation(name="rotate", kind="geometry", defaults=(15.0,), least=0, most=180, meaning="degrees either way"),
    Augmentation(name="shift", kind="geometry", defaults=(0.1,), least=0, most=1, meaning="share of the side"),
    Augmentation(name="zoom", kind="geometry", defaults=(0.8, 1.25), least=0.1, most=10, meaning="factors"),
    Augmentation(name="shear", kind="geometry", defaults=(10.0,), least=0, most=80, meaning="degrees either way"),
    Augmentation(
        name="elastic", kind="geometry", defaults=(0.05,), least=0, most=0.5,
        meaning="how far points of a 4 x 4 grid are pulled either way, share of the side",
    ),
    Augmentation(
        name="black_edges", kind="edges", defaults=(), least=0, most=0,
        meaning="what lies beyond the image is black, not its mirror image",
    ),
    Augmentation(name="brightness", kind="colour", defaults=(0.5, 1.5), least=0, most=10, meaning="factors"),
    Augmentation(name="contrast", kind="colour", defaults=(0.5, 1.5), least=0, most=10, meaning="factors"),
    Augmentation(name="saturation", kind="colour", defaults=(0.5, 1.5), least=0, most=10, meaning="factors"),
    Augmentation(
        name="hue", kind="colour", defaults=(0.5, 1.5), least=0, most=2,
        meaning="1 leaves it; f turns the hue by (f - 1) x 180 degrees",
    ),
    Augmentation(
        name="randaugment", kind="colour", defaults=(2.0, 9.0), least=0, most=31,
        meaning="how many random steps, and how strong of 31 (arXiv:1909.13719)",
    ),
    Augmentation(name="blur", kind="pixels", defaults=(0.5,), least=0, most=1, meaning="share of the images"),
    Augmentation(
        name="erase", kind="pixels", defaults=(0.5, 0.02, 0.33), least=0, most=1,
        meaning="share of the images, least and most share of the area (arXiv:1708.04896)",
    ),
    Augmentation(name="mixup", kind="mixing", defaults=(0.2,), least=0.01, most=10, meaning="alpha: arXiv:1710.09412"),
    Augmentation(name="cutmix", kind="mixing", defaults=(1.0,), least=0.01, most=10, meaning="alpha: arXiv:1905.04899"),
    Augmentation(
        name="mosaic", kind="mixing", defaults=(0.25, 0.75), least=0, most=1,
        meaning="four images meet at a point between these shares of the sides (arXiv:2004.10934)",
    ),
)  # fmt: skip


PARTNERS = {"mosaic": 3}
"""Images that a way to mix puts together with each, where it is not one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """One step of a chain with its numbers."""

    name: str
    values: tuple[float, ...]

    @property
    def kind(self) -> Kind:
        """What it works on."""
        return augmentation(self.name).kind


def augmentation(name: str) -> Augmentation:
    """The table's entry; ValueError with the nearest name when there is none."""
    for known in AUGMENTATIONS:
        if known.name == name:
            return known
    names = [known.name for known in AUGMENTATIONS]
    near = nearest(name, names, n=1)
    raise ValueError(f"has {name!r}, not one of {', '.join(names)}" + (f"; did you mean {near[0]}?" if near else ""))


def mean_partners(chain: Sequence[Augment]) -> float:
    """Images of the batch that are mixed into each, on average where steps take one of several ways.

    >>> mean_partners(parse_chain(["flip", "mixup", "mosaic"]))
    2.0
    """
    found = [PARTNERS.get(each.name, 1) for each in chain if each.kind == "mixing"]
    return sum(found) / len(found) if found else 0.0


def parse_chain(texts: Sequence[str]) -> tuple[Augment, ...]:
    """A chain from its texts; what a text leaves out keeps its default.

    >>> [step.values for step in parse_chain(["flip", "crop 0.5"])]
    [(0.5,), (0.5, 1.0, 1.3333333333333333)]
    """
    return tuple(_parse(text) for text in texts)


def _parse(text: str) -> Augment:
    name, *words = text.split()
    known = augmentation(name)
    if len(words) > len(known.defaults):
        raise ValueError(f"gives {name} {len(words)} numbers; it takes at most {len(known.defaults)}: {known.meaning}")
    try:
        given = tuple(float(word) for word in words)
    except ValueError:
        raise ValueError(f"has {text!r}; {name} takes numbers: {known.meaning}") from None
    if wrong := [value for value in given if not known.least <= value <= known.most]:
        raise ValueError(f"has {name} {wrong[0]:g}, outside {known.least:g} to {known.most:g}: {known.meaning}")
    return Augment(name=name, values=(*given, *known.defaults[len(given) :]))
