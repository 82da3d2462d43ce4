"""The steps of a chain as tensor operations over the whole batch, wherever it lies: [n, c, h, w] in [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from trainwright.data.colour import ColourMap


def floats(images: Tensor) -> Tensor:
    """Images in [0, 1], fp32."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def mean_colours(images: Tensor) -> Tensor:
    """[n, c], on the CPU."""
    return images.mean(dim=(2, 3)).cpu()


def sampled(images: Tensor, whole: Tensor, bends: Tensor | None = None, *, black: bool = False) -> Tensor:
    """Images seen through the matrices [n, 3, 3], bilinear, flips alone exact; mirrored or black beyond the edges.

    ``bends`` [n, 2, k, k]: how far each of k x k points lies off besides, in x and in y, as shares of the sides.
    """
    if bends is None and _only_flips(whole):
        across, down = (whole[:, i, i].to(images.device) < 0 for i in (0, 1))
        images = torch.where(across[:, None, None, None], images.flip(-1), images)
        return torch.where(down[:, None, None, None], images.flip(-2), images)
    where = functional.affine_grid(whole[:, :2].to(images), list(images.shape), align_corners=False)
    if bends is not None:
        smooth = functional.interpolate(2 * bends.to(images), images.shape[-2:], mode="bicubic", align_corners=False)
        where = where + smooth.permute(0, 2, 3, 1)
    beyond = "zeros" if black else "reflection"
    return functional.grid_sample(images, where, padding_mode=beyond, align_corners=False)


def _only_flips(whole: Tensor) -> bool:
    return bool((whole.abs() == torch.eye(3)).all())


def mapped(images: Tensor, colours: ColourMap) -> Tensor:
    """The images through the map, clamped once."""
    n, channels, high, wide = images.shape
    matrix, offset = colours.matrix.to(images), colours.offset.to(images)[:, :, None]
    if channels == 1:
        return images.mul(matrix[:, :, :, None]).add_(offset[:, :, :, None]).clamp_(0, 1)
    changed = torch.baddbmm(offset, matrix, images.reshape(n, channels, high * wide))
    return changed.clamp_(0, 1).reshape(images.shape)


def tabled(images: Tensor, tables: Tensor) -> Tensor:
    """Each pixel, rounded to a byte, replaced by its entry in the image's table [256] of bytes; others stay exact."""
    bytes_ = (images * 255).round().long()
    found = tables.to(images.device).long().gather(1, bytes_.flatten(1)).reshape(images.shape)
    return torch.where(found == bytes_, images, found.to(images) / 255)


def blurred(images: Tensor, shares: Tensor) -> Tensor:
    """Images through ``smoothing`` of these shares [n], along one side and then the other."""
    share = shares.to(images)[:, None, None, None]
    along: Tensor = torch.lerp(images, _smooth(images, -1), share)
    return torch.lerp(along, _smooth(along, -2), share)


def smoothing(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights [n, 5] of five pixels in a row: shares [n, 1] of 1 4 6 4 1, sixteenths, and the rest for the middle one.

    >>> smoothing(np.array([[0.5]])).tolist()
    [[0.03125, 0.125, 0.6875, 0.125, 0.03125]]
    """
    return np.asarray(shares * np.array([1, 4, 6, 4, 1]) / 16 + (1 - shares) * np.array([0, 0, 1, 0, 0]))


def _smooth(images: Tensor, dim: int) -> Tensor:
    """1 4 6 4 1 along one dimension: five shifted sums, many times faster on a CPU than a depthwise convolution."""
    side = images.shape[dim]
    wide = functional.pad(images, (2, 2, 0, 0) if dim == -1 else (0, 0, 2, 2), mode="reflect")
    parts = [wide.narrow(dim, begin, side) for begin in range(5)]
    soft: Tensor = (parts[0] + parts[4]).add_(parts[1] + parts[3], alpha=4).add_(parts[2], alpha=6).div_(16)
    return soft


def filled(images: Tensor, boxes: Tensor) -> Tensor:
    """The boxes [4, n] of (top, left, bottom, right), shares of the sides, filled with each image's mean colour."""
    return torch.where(rectangle(images, boxes), images.mean(dim=(2, 3), keepdim=True), images)


def rectangle(images: Tensor, box: Tensor) -> Tensor:
    """[n, 1, h, w]: True inside the boxes [4, n] of (top, left, bottom, right) as shares of the sides."""
    top, left, bottom, right = box.to(images.device)[:, :, None]
    ys, xs = (((torch.arange(side, device=images.device) + 0.5) / side)[None] for side in images.shape[-2:])
    inside: Tensor = ((ys >= top) & (ys < bottom))[:, None, :, None] & ((xs >= left) & (xs < right))[:, None, None, :]
    return inside
