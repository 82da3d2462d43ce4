"""Where each output pixel comes from: steps composed into one affine map and one smooth field.

Matrices [n, 3, 3] take output coordinates (x, y, 1), both from -1 to 1 over the image, to input coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from trainwright.data.draws import Draws
from trainwright.jobs.augment import Augment

BENDS = 4
"""Points along each side that an elastic step moves."""
PER_STEP = 2 * BENDS**2
"""Numbers that one step of a chain may draw; step i draws from i * PER_STEP on."""


def matrix(n: int, **entries: Tensor | float) -> Tensor:
    """n identities with entries set: a, b, c in the first row and d, e, f in the second."""
    result = torch.eye(3).repeat(n, 1, 1)
    for name, value in entries.items():
        row, column = divmod("abcdef".index(name), 3)
        result[:, row, column] = value
    return result


def flip(draw: Draws, at: int, values: Sequence[float], _aspect: float) -> Tensor:
    """Mirror left and right."""
    sign = 1.0 - 2.0 * draw.chance(at, values[0]).float()
    return matrix(len(sign), a=sign)


def flip_vertical(draw: Draws, at: int, values: Sequence[float], _aspect: float) -> Tensor:
    """Mirror up and down."""
    sign = 1.0 - 2.0 * draw.chance(at, values[0]).float()
    return matrix(len(sign), e=sign)


def crop(draw: Draws, at: int, values: Sequence[float], _aspect: float) -> Tensor:
    """A window of a random share of the area and a random aspect (log-uniform), as Szegedy et al., arXiv:1409.4842."""
    low, high, stretch = values
    area = draw.uniform(at, low, high)
    stretched = torch.exp(draw.uniform(at + 1, -math.log(stretch), math.log(stretch)) / 2)
    wide, tall = (area.sqrt() * stretched).clamp(max=1.0), (area.sqrt() / stretched).clamp(max=1.0)
    x, y = ((1 - wide) * draw.uniform(at + 2, -1, 1), (1 - tall) * draw.uniform(at + 3, -1, 1))
    return matrix(len(area), a=wide, c=x, e=tall, f=y)


def rotate(draw: Draws, at: int, values: Sequence[float], aspect: float) -> Tensor:
    """Turn about the middle."""
    return turned(draw.uniform(at, -values[0], values[0]), aspect)


def turned(degrees: Tensor, aspect: float) -> Tensor:
    """Rotation matrices; ``aspect`` is width over height, so that pixels turn and not coordinates."""
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    return matrix(len(degrees), a=cos, b=-sin / aspect, d=sin * aspect, e=cos)


def shift(draw: Draws, at: int, values: Sequence[float], _aspect: float) -> Tensor:
    """Move along both sides."""
    x, y = (2 * draw.uniform(at + i, -values[0], values[0]) for i in (0, 1))
    return matrix(len(x), c=x, f=y)


def zoom(draw: Draws, at: int, values: Sequence[float], _aspect: float) -> Tensor:
    """Larger or smaller, log-uniform between the factors."""
    scale = torch.exp(-draw.uniform(at, math.log(values[0]), math.log(values[1])))
    return matrix(len(scale), a=scale, e=scale)


def shear(draw: Draws, at: int, values: Sequence[float], _aspect: float) -> Tensor:
    """Slant along x."""
    slant = torch.tan(torch.deg2rad(draw.uniform(at, -values[0], values[0])))
    return matrix(len(slant), b=slant)


Step = Callable[[Draws, int, Sequence[float], float], Tensor]
STEPS: Mapping[str, Step] = {
    "flip": flip, "flip_vertical": flip_vertical, "crop": crop, "rotate": rotate, "shift": shift, "zoom": zoom,
    "shear": shear,
}  # fmt: skip


def composed(chain: Sequence[tuple[int, Augment]], draw: Draws, aspect: float) -> Tensor | None:
    """The geometric steps of a chain as one matrix a sample; None when there are none."""
    whole: Tensor | None = None
    for place, step in chain:
        if step.name in STEPS:
            made = STEPS[step.name](draw, place * PER_STEP, step.values, aspect)
            whole = made if whole is None else whole @ made
    return whole


def bends_of(chain: Sequence[tuple[int, Augment]], draw: Draws) -> Tensor | None:
    """[n, 2, BENDS, BENDS]: how far points of a coarse grid lie off, in shares of the sides; None without elastic.

    Simard, Steinkraus and Platt, ICDAR 2003, with a bicubic field through random points in place of a smoothed one.
    """
    total: Tensor | None = None
    for place, step in chain:
        if step.name == "elastic":
            numbers = [draw.uniform(place * PER_STEP + i, -step.values[0], step.values[0]) for i in range(2 * BENDS**2)]
            made = torch.stack(numbers, dim=1).reshape(-1, 2, BENDS, BENDS)
            total = made if total is None else total + made
    return total
