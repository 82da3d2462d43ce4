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
    def only_softens(self) -> bool:
        """Whether one blur is all there is to do."""
        return len(self.chain) == len(self.blurs) == 1

    @property
    def is_nothing(self) -> bool:
        """Whether the images stay as they are."""
        found = self.whole is not None or any(step.kind == "colour" for _, step in self.chain)
        return not (found or self.blurs or self.boxes)


def augment(images: Tensor, ids: NDArray[np.int64], epoch: int, chain: Sequence[Augment], seed: int) -> Tensor:
    """Images [n, c, h, w], uint8 or in [0, 1], through the chain's steps but mixing; fp32 in [0, 1]."""
    drawn = _drawn(list(enumerate(chain)), draws(seed, epoch, ids), images.shape[-1] / images.shape[-2])
    if drawn.is_nothing:
        return planes.floats(images)
    if images.dtype == torch.uint8 and images.device.type == "cpu" and images.shape[1] in (1, 3):
        return _in_bytes(images, drawn)
    return _in_tensors(images, drawn)


def _in_bytes(images: Tensor, drawn: Drawn) -> Tensor:
    if drawn.only_softens:
        return raster.softened_planes(images.numpy(), drawn.blurs[0].tolist())
    planes = images.numpy()
    made, at_once = np.empty(planes.shape, dtype=np.float32), max(IN_CACHE_BYTES // planes[0].nbytes, 1)
    for begin in range(0, len(planes), at_once):
        some = slice(begin, begin + at_once)
        raster.give(_pictures(planes[some], drawn.part(some)), made[some])
    return torch.from_numpy(made)


def _pictures(planes: NDArray[np.uint8], drawn: Drawn) -> list[raster.Picture]:
    pictures = raster.taken(planes)
    if drawn.whole is not None:
        pictures = raster.warped(pictures, drawn.whole, drawn.bends, black=drawn.black_edges)
    if any(step.kind == "colour" for _, step in drawn.chain):
        colours = colours_of(drawn.chain, drawn.draw, raster.mean_colours(pictures))
        pictures = raster.recoloured(pictures, colours) if colours is not None else pictures
    for each in drawn.rounds:
        pictures = raster.recoloured(pictures, _rand_colours(each, raster.mean_colours(pictures)))
        pictures = raster.tabled(pictures, _rand_tables(each))
    for shares in drawn.blurs:
        pictures = raster.softened(pictures, shares.tolist())
    for boxes in drawn.boxes:
        pictures = raster.blotted(pictures, boxes)
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
