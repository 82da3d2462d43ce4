"""Images of one global batch mixed with each other; the labels move with the pixels.

Row i mixes with the rows ``shift`` places further in the global batch, so that any part of the batch can be made by
whoever has those rows. Where a chain names several ways to mix, each step takes one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainwright.data.planes import rectangle
from trainwright.jobs.augment import PARTNERS, Augment


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How one step's global batch is mixed: the way, partners [k, batch], and numbers [2, batch] for each row."""

    name: str
    partners: NDArray[np.int64]
    numbers: NDArray[np.float32]


def mix_of(chain: Sequence[Augment], seed: int, step: int, batch: int) -> Mix | None:
    """The mixing of a step; None when the chain mixes nothing."""
    ways = [each for each in chain if each.kind == "mixing"]
    if not ways:
        return None
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, step, 77])))
    way = ways[int(random.integers(len(ways)))]
    n_partners = PARTNERS.get(way.name, 1)
    shifts = random.integers(1, max(batch, 2), size=(n_partners, 1))
    partners = (np.arange(batch)[None] + shifts) % batch
    if way.name == "mosaic":
        numbers = random.uniform(way.values[0], way.values[1], size=(2, batch))
    else:
        alpha = way.values[0]
        numbers = np.stack([random.beta(alpha, alpha, size=batch), random.uniform(size=batch)])
    return Mix(name=way.name, partners=partners, numbers=numbers.astype(np.float32))


def mixed_rows(images: Tensor, shares: Tensor, mix: Mix, rows: NDArray[np.int64], at: NDArray[np.int64]) -> tuple[
    Tensor, Tensor
]:  # fmt: skip
    """Rows of the global batch, mixed. ``images`` [m, c, h, w] and ``shares`` of classes [m, k] hold what they need.

    ``at`` says where each row of the global batch lies in ``images``.
    """
    own = torch.from_numpy(at[rows])
    others = [torch.from_numpy(at[mix.partners[k][rows]]) for k in range(len(mix.partners))]
    first, second = (torch.from_numpy(numbers[rows]) for numbers in mix.numbers)
    if mix.name == "mixup":
        keep = first.to(images)
        blended = torch.lerp(images[others[0]], images[own], keep[:, None, None, None])
        return blended, torch.lerp(shares[others[0]], shares[own], first[:, None])
    if mix.name == "cutmix":
        return _cut(images, shares, (own, others[0]), first, second)
    return _mosaic(images, shares, (own, *others), first, second)


def _cut(images: Tensor, shares: Tensor, pair: tuple[Tensor, Tensor], keep: Tensor, where: Tensor) -> tuple[
    Tensor, Tensor
]:  # fmt: skip
    """A box of the partner, of area 1 - keep; labels by the pixels that really came from each."""
    side = (1 - keep).sqrt()
    top, left = (1 - side) * where, (1 - side) * ((where * 7919) % 1)
    own, other = pair
    inside = rectangle(images[own], torch.stack([top, left, top + side, left + side]))
    kept = 1 - inside.float().mean(dim=(1, 2, 3)).cpu()
    mixed = torch.where(inside, images[other], images[own])
    return mixed, torch.lerp(shares[other], shares[own], kept[:, None])


def _mosaic(images: Tensor, shares: Tensor, four: tuple[Tensor, ...], y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Four images that meet at (y, x), each showing its own corner."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    corners = ((zero, zero, y, x), (zero, x, y, one), (y, zero, one, x), (y, x, one, one))
    mixed = torch.zeros_like(images[four[0]])
    labels = torch.zeros_like(shares[four[0]])
    for source, corner in zip(four, corners, strict=True):
        inside = rectangle(mixed, torch.stack(corner))
        mixed = torch.where(inside, images[source], mixed)
        labels += shares[source] * inside.float().mean(dim=(1, 2, 3)).cpu()[:, None]
    return mixed, labels
