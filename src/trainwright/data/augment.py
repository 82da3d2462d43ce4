"""A chain of augmentations over a whole batch at once: geometry, colour, pixels; then images mixed with each other.

Steps of one kind keep the order of the chain; kinds come in the order above, which is what lets all geometry be one
sampling and all colour one matrix. The same (seed, epoch, sample) gives the same pixels whatever the batch, the
workers or the mesh; mixing depends on the step's global batch besides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from trainwright.data.colour import ColourMap, apply_colours, apply_factor, mapped
from trainwright.data.draws import Draws, draws
from trainwright.data.geometry import PER_STEP, composed, matrix, sampled, turned
from trainwright.jobs.augment import Augment

RAND_STEPS = (
    "nothing", "rotate", "shear_x", "shear_y", "shift_x", "shift_y", "brightness", "contrast", "saturation",
    "solarize", "posterize",
)  # fmt: skip
"""What RandAugment chooses from (arXiv:1909.13719, table 6, without equalize, autocontrast and sharpness)."""
MOST_STRENGTH = 31.0


def augment(images: Tensor, ids: NDArray[np.int64], epoch: int, chain: Sequence[Augment], seed: int) -> Tensor:
    """Images [n, c, h, w], uint8 or in [0, 1], through the chain's steps but mixing; fp32 in [0, 1]."""
    images = images.float().div_(255) if images.dtype == torch.uint8 else images.float()
    numbered = list(enumerate(chain))
    draw = draws(seed, epoch, ids)
    aspect = images.shape[-1] / images.shape[-2]
    whole = composed(numbered, draw, aspect)
    random = [(place, step) for place, step in numbered if step.name == "randaugment"]
    choices = [_chosen(draw, place, step) for place, step in random]
    for choice, strength, sign in (round_ for rounds in choices for round_ in rounds):
        made = _rand_geometry(choice, strength * sign, aspect)
        whole = made if whole is None else whole @ made
    if whole is not None:
        images = sampled(images, whole, (int(images.shape[-2]), int(images.shape[-1])))
    images = apply_colours(images, numbered, draw)
    for choice, strength, sign in (round_ for rounds in choices for round_ in rounds):
        images = _rand_colour(images, choice, strength, sign)
    for place, step in numbered:
        if step.name == "blur":
            images = blurred(images, draw.chance(place * PER_STEP, step.values[0]), draw.uniform(place * PER_STEP + 1))
        elif step.name == "erase":
            images = erased(images, draw, place * PER_STEP, step.values)
    return images


def blurred(images: Tensor, chosen: Tensor, strength: Tensor) -> Tensor:
    """Images pulled towards a 5 x 5 binomial blur of themselves, by ``strength`` where chosen."""
    soft = _smooth(_smooth(images, -1), -2)
    pulled: Tensor = torch.lerp(images, soft, (strength * chosen).to(images)[:, None, None, None])
    return pulled


def _smooth(images: Tensor, dim: int) -> Tensor:
    """1 4 6 4 1 along one dimension: five shifted sums, many times faster on a CPU than a depthwise convolution."""
    side = images.shape[dim]
    wide = functional.pad(images, (2, 2, 0, 0) if dim == -1 else (0, 0, 2, 2), mode="reflect")
    parts = [wide.narrow(dim, begin, side) for begin in range(5)]
    soft: Tensor = (parts[0] + parts[4]).add_(parts[1] + parts[3], alpha=4).add_(parts[2], alpha=6).div_(16)
    return soft


def erased(images: Tensor, draw: Draws, at: int, values: Sequence[float]) -> Tensor:
    """A random rectangle of some images filled with the image's mean colour."""
    share, low, high = values
    area = draw.uniform(at, low, high) * draw.chance(at + 1, share)
    stretch = torch.exp(draw.uniform(at + 2, -math.log(3), math.log(3)) / 2)
    tall, wide = (area.sqrt() * stretch).clamp(max=1.0), (area.sqrt() / stretch).clamp(max=1.0)
    top, left = (1 - tall) * draw.uniform(at + 3), (1 - wide) * draw.uniform(at + 4)
    inside = rectangle(images, torch.stack([top, left, top + tall, left + wide]))
    return torch.where(inside, images.mean(dim=(2, 3), keepdim=True), images)


def rectangle(images: Tensor, box: Tensor) -> Tensor:
    """[n, 1, h, w]: True inside the boxes [4, n] of (top, left, bottom, right) as shares of the sides."""
    top, left, bottom, right = box.to(images.device)[:, :, None]
    ys, xs = (((torch.arange(side, device=images.device) + 0.5) / side)[None] for side in images.shape[-2:])
    inside: Tensor = ((ys >= top) & (ys < bottom))[:, None, :, None] & ((xs >= left) & (xs < right))[:, None, None, :]
    return inside


Round = tuple[Tensor, Tensor, Tensor]
"""One random step an image: which of RAND_STEPS, its strength from 0 to 1, and its sign."""


def _chosen(draw: Draws, place: int, step: Augment) -> list[Round]:
    strength = torch.full((len(draw.keys),), step.values[1] / MOST_STRENGTH)
    rounds = []
    for number in range(int(step.values[0])):
        at = place * PER_STEP + 2 * number
        choice = (draw.uniform(at) * len(RAND_STEPS)).long()
        rounds.append((choice, strength, 1.0 - 2.0 * draw.chance(at + 1, 0.5).float()))
    return rounds


def _rand_geometry(choice: Tensor, amount: Tensor, aspect: float) -> Tensor:
    def where(name: str) -> Tensor:
        return amount * (choice == RAND_STEPS.index(name))

    whole = turned(30 * where("rotate"), aspect)
    whole = whole @ matrix(len(choice), b=0.3 * where("shear_x"), d=0.3 * where("shear_y"))
    return whole @ matrix(len(choice), c=0.6 * where("shift_x"), f=0.6 * where("shift_y"))


def _rand_colour(images: Tensor, choice: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    n, channels = images.shape[:2]
    colours = ColourMap(torch.eye(channels).repeat(n, 1, 1), torch.zeros(n, channels), images.mean(dim=(2, 3)).cpu())
    for name in ("brightness", "contrast", "saturation"):
        apply_factor(colours, name, 1 + 0.9 * strength * sign * (choice == RAND_STEPS.index(name)))
    images = mapped(images, colours)
    solar = (choice == RAND_STEPS.index("solarize")).to(images.device)[:, None, None, None]
    images = torch.where(solar & (images >= 1 - strength.to(images)[:, None, None, None]), 1 - images, images)
    levels = 2.0 ** (8 - (4 * strength).round()).to(images)[:, None, None, None]
    poster = (choice == RAND_STEPS.index("posterize")).to(images.device)[:, None, None, None]
    return torch.where(poster, torch.floor(images * (levels - 1)) / (levels - 1), images)
