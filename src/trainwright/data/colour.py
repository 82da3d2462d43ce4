"""Brightness, contrast, saturation and hue as one affine map of the channels, done once.

Each is linear in the pixel: colour' = M colour + b. Contrast pulls towards the image's mean grey, which is linear too,
so that a whole chain is one 3x3 matrix and one offset an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainwright.data.draws import Draws
from trainwright.data.geometry import PER_STEP
from trainwright.jobs.augment import Augment

GREY = torch.tensor([0.299, 0.587, 0.114])
"""Luma of Rec. ITU-R BT.601."""
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""RGB to YIQ (NTSC); hue is an angle in the plane of I and Q."""


@dataclass(slots=True)
class ColourMap:
    """The map so far: [n, c, c] and [n, c], with the images' mean colours [n, c]."""

    matrix: Tensor
    offset: Tensor
    mean: Tensor

    def then(self, matrix: Tensor, offset: Tensor | None = None) -> None:
        """Another map after this one."""
        self.matrix = matrix @ self.matrix
        self.offset = (matrix @ self.offset[:, :, None])[:, :, 0] + (0 if offset is None else offset)


def unchanged(mean: Tensor) -> ColourMap:
    """The map that changes nothing, of images with these mean colours [n, c]."""
    n, channels = mean.shape
    return ColourMap(torch.eye(channels).repeat(n, 1, 1), torch.zeros(n, channels), mean)


def colours_of(chain: Sequence[tuple[int, Augment]], draw: Draws, mean: Tensor) -> ColourMap | None:
    """The chain's colour steps as one map of images with these mean colours; grey images have no hue."""
    steps = [(place, step) for place, step in chain if step.name in STEPS]
    if not steps:
        return None
    colours = unchanged(mean)
    for place, step in steps:
        apply_factor(colours, step.name, draw.uniform(place * PER_STEP, step.values[0], step.values[1]))
    return colours


def apply_factor(colours: ColourMap, name: str, factor: Tensor) -> None:
    """One step with one factor an image; 1 changes nothing."""
    channels = colours.matrix.shape[1]
    eye = torch.eye(channels)
    f = factor[:, None, None]
    if name == "brightness":
        colours.then(f * eye)
    elif name == "contrast":
        grey = _grey(channels)
        now = (colours.matrix @ colours.mean[:, :, None])[:, :, 0] + colours.offset
        colours.then(f * eye, ((1 - factor) * (now @ grey))[:, None].expand(-1, channels))
    elif channels == 3 and name == "saturation":
        colours.then(f * eye + (1 - f) * _grey(3)[None, None, :])
    elif channels == 3 and name == "hue":
        colours.then(hue_turn(factor))


def hue_turn(factor: Tensor) -> Tensor:
    """[n, 3, 3]: hue turned by (factor - 1) x 180 degrees, brightness kept.

    >>> turned = hue_turn(torch.tensor([1.0]))
    >>> bool((turned[0] - torch.eye(3)).abs().max() < 1e-5)
    True
    """
    angle = (factor - 1) * torch.pi
    turn = torch.eye(3).repeat(len(factor), 1, 1)
    turn[:, 1, 1] = turn[:, 2, 2] = torch.cos(angle)
    turn[:, 1, 2], turn[:, 2, 1] = -torch.sin(angle), torch.sin(angle)
    changed: Tensor = torch.linalg.inv(_YIQ) @ turn @ _YIQ
    return changed


def _grey(channels: int) -> Tensor:
    return GREY if channels == 3 else torch.full((channels,), 1 / channels)


STEPS = ("brightness", "contrast", "saturation", "hue")
