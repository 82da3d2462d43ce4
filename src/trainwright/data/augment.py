"""A chain of augmentations over a batch: geometry, colour, pixels; then images mixed with each other.

Steps of one kind keep the order of the chain; kinds come in the order above, which is what lets all geometry be one
sampling and all colour one matrix. The same (seed, epoch, sample) gives the same pixels whatever the batch, the
workers or the mesh; mixing depends on the step's global batch besides. Bytes on the CPU go through OpenCV
(data/raster.py), which is the fastest there; floats and accelerators take tensor operations (data/planes.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainwright.data import planes, raster
from trainwright.data.colour import ColourMap, apply_factor, colours_of, unchanged
from trainwright.data.draws import Draws, draws
from trainwright.data.geometry import PER_STEP, bends_of, composed, matrix, turned
from trainwright.jobs.augment import Augment

RAND_STEPS = (
    "nothing", "rotate", "shear_x", "shear_y", "shift_x", "shift_y", "brightness", "contrast", "saturation",
    "solarize", "posterize",
)  # fmt: skip
"""What RandAugment chooses from (arXiv:1909.13719, table 6, without equalize, autocontrast and sharpness)."""
MOST_STRENGTH = 31.0
IN_CACHE_BYTES = 2**19
"""Pictures that go through all steps together on a CPU: so many that one step finds what the last one left in cache."""
LARGE = 64 * 64
"""Pixels of a plane from which on the planes of an image go through geometry one by one faster than together."""

Numbered = Sequence[tuple[int, Augment]]


@dataclass(frozen=True, slots=True)
class Round:
    """One random step an image: which of RAND_STEPS, its strength from 0 to 1, and its sign."""

    choice: Tensor
    strength: Tensor
    sign: Tensor

    def amount(self, name: str) -> Tensor:
        """Strength with its sign where this step was chosen, else 0."""
        return self.strength * self.sign * (self.choice == RAND_STEPS.index(name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What was drawn for some images: one matrix and one field of bends, rounds, shares of blur, boxes to erase."""

    chain: Numbered
    draw: Draws
    whole: Tensor | None
    bends: Tensor | None
    rounds: tuple[Round, ...]
    blurs: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]

    @property
    def black_edges(self) -> bool:
        """Whether what lies beyond an image is black, not its mirror image."""
        return any(step.kind == "edges" for _, step in self.chain)

    def part(self, some: slice) -> Drawn:
        """What was drawn for some of the images."""
        return replace(
            self,
            draw=Draws(self.draw.keys[some]),
            whole=None if self.whole is None else self.whole[some],
            bends=None if self.bends is None else self.bends[some],
            rounds=tuple(Round(each.choice[some], each.strength[some], each.sign[some]) for each in self.rounds),
            blurs=tuple(shares[some] for shares in self.blurs),
            boxes=tuple(boxes[:, some] for boxes in self.boxes),
        )

    @property
    def recolours(self) -> bool:
        """Whether channels are mixed with each other."""
        return any(step.kind == "colour" for _, step in self.chain)

    @property
    def is_nothing(self) -> bool:
        """Whether the images stay as they are."""
        return not (self.whole is not None or self.recolours or self.blurs or self.boxes)


def augment(images: Tensor, ids: NDArray[np.int64], epoch: int, chain: Sequence[Augment], seed: int) -> Tensor:
    """Images [n, c, h, w], uint8 or in [0, 1], through the chain's steps but mixing; fp32 in [0, 1]."""
    drawn = _drawn(list(enumerate(chain)), draws(seed, epoch, ids), images.shape[-1] / images.shape[-2])
    if drawn.is_nothing:
        return planes.floats(images)
    if images.dtype == torch.uint8 and images.device.type == "cpu" and images.shape[1] in (1, 3):
        return _in_bytes(images, drawn)
    return _in_tensors(images, drawn)


def _in_bytes(images: Tensor, drawn: Drawn) -> Tensor:
    """Plane by plane where channels stay apart and that is faster."""
    whole, size = images.numpy(), (images.shape[2], images.shape[3])
    made, at_once = np.empty(whole.shape, dtype=np.float32), max(IN_CACHE_BYTES // whole[0].nbytes, 1)
    if not drawn.recolours and (drawn.whole is None or size[0] * size[1] >= LARGE):
        raster.change_planes(whole, _changes(drawn, size), made)
        return torch.from_numpy(made)
    for begin in range(0, len(whole), at_once):
        some = slice(begin, begin + at_once)
        raster.give(_pictures(whole[some], drawn.part(some)), made[some])
    return torch.from_numpy(made)


def _changes(drawn: Drawn, size: tuple[int, int]) -> list[tuple[raster.Change, ...]]:
    """What becomes of each image, colours left aside."""
    steps = [raster.warps(drawn.whole, drawn.bends, size, black=drawn.black_edges)] if drawn.whole is not None else []
    return list(zip(*steps, *_pixel_steps(drawn, size), strict=True))


def _pixel_steps(drawn: Drawn, size: tuple[int, int]) -> list[list[raster.Change]]:
    return [
        *(raster.softer(shares.numpy()) for shares in drawn.blurs),
        *(raster.blots(boxes, size) for boxes in drawn.boxes),
    ]


def _pictures(planes: NDArray[np.uint8], drawn: Drawn) -> list[raster.Picture]:
    pictures, size = raster.taken(planes), (planes.shape[2], planes.shape[3])
    if drawn.whole is not None:
        warps = raster.warps(drawn.whole, drawn.bends, size, black=drawn.black_edges)
        pictures = [warp.of(picture) for warp, picture in zip(warps, pictures, strict=True)]
    if drawn.recolours:
        pictures = _recoloured(pictures, drawn)
    for changes in _pixel_steps(drawn, size):
        pictures = [change.of(picture) for change, picture in zip(changes, pictures, strict=True)]
    return pictures


def _recoloured(pictures: list[raster.Picture], drawn: Drawn) -> list[raster.Picture]:
    colours = colours_of(drawn.chain, drawn.draw, raster.mean_colours(pictures))
    pictures = raster.recoloured(pictures, colours) if colours is not None else pictures
    for each in drawn.rounds:
        pictures = raster.recoloured(pictures, _rand_colours(each, raster.mean_colours(pictures)))
        pictures = raster.tabled(pictures, _rand_tables(each))
    return pictures


def _in_tensors(images: Tensor, drawn: Drawn) -> Tensor:
    images = planes.floats(images)
    if drawn.whole is not None:
        images = planes.sampled(images, drawn.whole, drawn.bends, black=drawn.black_edges)
    if (colours := colours_of(drawn.chain, drawn.draw, planes.mean_colours(images))) is not None:
        images = planes.mapped(images, colours)
    for each in drawn.rounds:
        images = planes.mapped(images, _rand_colours(each, planes.mean_colours(images)))
        images = planes.tabled(images, torch.from_numpy(_rand_tables(each)))
    for shares in drawn.blurs:
        images = planes.blurred(images, shares)
    for boxes in drawn.boxes:
        images = planes.filled(images, boxes)
    return images


def _drawn(chain: Numbered, draw: Draws, aspect: float) -> Drawn:
    rounds = tuple(each for place, step in chain if step.name == "randaugment" for each in _rounds(draw, place, step))
    whole, bends = composed(chain, draw, aspect), bends_of(chain, draw)
    for each in rounds:
        made = _rand_geometry(each, aspect)
        whole = made if whole is None else whole @ made
    if whole is None and bends is not None:
        whole = matrix(len(draw.keys))
    blurs = [
        draw.chance(place * PER_STEP, step.values[0]) * draw.uniform(place * PER_STEP + 1)
        for place, step in chain
        if step.name == "blur"
    ]
    boxes = [_box(draw, place * PER_STEP, step.values) for place, step in chain if step.name == "erase"]
    return Drawn(
        chain=chain, draw=draw, whole=whole, bends=bends, rounds=rounds, blurs=tuple(blurs), boxes=tuple(boxes)
    )


def _box(draw: Draws, at: int, values: Sequence[float]) -> Tensor:
    """[4, n]: (top, left, bottom, right) of a random rectangle, as shares of the sides; empty where none is erased."""
    share, low, high = values
    area = draw.uniform(at, low, high) * draw.chance(at + 1, share)
    stretch = torch.exp(draw.uniform(at + 2, -math.log(3), math.log(3)) / 2)
    tall, wide = (area.sqrt() * stretch).clamp(max=1.0), (area.sqrt() / stretch).clamp(max=1.0)
    top, left = (1 - tall) * draw.uniform(at + 3), (1 - wide) * draw.uniform(at + 4)
    return torch.stack([top, left, top + tall, left + wide])


def _rounds(draw: Draws, place: int, step: Augment) -> list[Round]:
    strength = torch.full((len(draw.keys),), step.values[1] / MOST_STRENGTH)
    made = []
    for number in range(int(step.values[0])):
        at = place * PER_STEP + 2 * number
        choice = (draw.uniform(at) * len(RAND_STEPS)).long()
        made.append(Round(choice, strength, 1.0 - 2.0 * draw.chance(at + 1, 0.5).float()))
    return made


def _rand_geometry(each: Round, aspect: float) -> Tensor:
    n = len(each.choice)
    whole = turned(30 * each.amount("rotate"), aspect)
    whole = whole @ matrix(n, b=0.3 * each.amount("shear_x"), d=0.3 * each.amount("shear_y"))
    return whole @ matrix(n, c=0.6 * each.amount("shift_x"), f=0.6 * each.amount("shift_y"))


def _rand_colours(each: Round, mean: Tensor) -> ColourMap:
    colours = unchanged(mean)
    for name in ("brightness", "contrast", "saturation"):
        apply_factor(colours, name, 1 + 0.9 * each.amount(name))
    return colours


def _rand_tables(each: Round) -> NDArray[np.uint8]:
    """[n, 256]: what becomes of each byte where an image is solarized or posterized; elsewhere the byte itself."""
    values = torch.arange(256).repeat(len(each.choice), 1)
    solar = (each.choice == RAND_STEPS.index("solarize"))[:, None] & (values >= 255 * (1 - each.strength[:, None]))
    values = torch.where(solar, 255 - values, values)
    step = (2.0 ** (4 * each.strength).round()).long()[:, None]
    poster = (each.choice == RAND_STEPS.index("posterize"))[:, None]
    return np.asarray(torch.where(poster, values // step * step, values).to(torch.uint8).numpy())
