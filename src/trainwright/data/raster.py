"""The steps of a chain on the CPU: one image after another through OpenCV, in bytes.

A picture is [h, w, c] (grey: [h, w]) uint8. What is drawn at random comes from the callers, so that these and
the tensor operations of data/planes.py make the same change, to the rounding of bytes and of windows to whole pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainwright.data.colour import ColourMap
from trainwright.data.planes import smoothing
from trainwright.errors import MissingExtraError

Picture = NDArray[np.uint8]


def opencv() -> Any:
    """The library, on one thread a caller: the loader's threads are the parallelism."""
    try:
        import cv2
    except ImportError:
        raise MissingExtraError("augmenting images needs OpenCV", hint="pip install 'trainwright[train]'") from None
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)
    return cv2


def taken(images: NDArray[np.uint8]) -> list[Picture]:
    """Pictures of planes [n, c, h, w] of one or three channels."""
    merge = opencv().merge
    return [merge(tuple(planes)) if len(planes) > 1 else planes[0] for planes in images]


def give(pictures: Sequence[Picture], made: NDArray[np.float32]) -> None:
    """Write the pictures as planes [n, c, h, w] in [0, 1]."""
    planes = [each[None] if each.ndim == 2 else each.transpose(2, 0, 1) for each in pictures]
    np.multiply(np.stack(planes), np.float32(1 / 255), out=made)


def warped(pictures: Sequence[Picture], whole: Tensor, bends: Tensor | None, *, black: bool) -> list[Picture]:
    """Pictures seen through the matrices [n, 3, 3], bilinear; mirrored beyond their edges, or ``black``.

    ``bends`` [n, 2, k, k]: how far each of k x k points lies off besides, in x and in y, as shares of the sides.
    """
    cv2 = opencv()
    high, wide = pictures[0].shape[:2]
    to_pixels = np.array([[wide / 2, 0, (wide - 1) / 2], [0, high / 2, (high - 1) / 2], [0, 0, 1]])
    maps = (to_pixels @ whole.double().numpy() @ np.linalg.inv(to_pixels)).astype(np.float32)
    border = cv2.BORDER_CONSTANT if black else cv2.BORDER_REFLECT
    if bends is not None:
        return [
            cv2.remap(picture, *_bent(cv2, each, bend, (wide, high)), cv2.INTER_LINEAR, borderMode=border)
            for picture, each, bend in zip(pictures, maps, bends.numpy(), strict=True)
        ]
    return [_seen(cv2, picture, each, border) for picture, each in zip(pictures, maps, strict=True)]


def _seen(cv2: Any, picture: Picture, each: NDArray[np.float32], border: int) -> Picture:
    """One picture through one map; a window of it, to whole pixels, is cut and resized, five times as fast."""
    high, wide = picture.shape[:2]
    if each[0, 1] == each[1, 0] == 0:
        left, right = _edges(each[0, 0], each[0, 2], wide)
        top, bottom = _edges(each[1, 1], each[1, 2], high)
        if 0 <= left < right <= wide and 0 <= top < bottom <= high:
            window = cv2.resize(picture[top:bottom, left:right], (wide, high), interpolation=cv2.INTER_LINEAR)
            return _mirrored(cv2, window, across=each[0, 0] < 0, down=each[1, 1] < 0)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen: Picture = cv2.warpAffine(picture, each[:2], (wide, high), flags=flags, borderMode=border)
    return seen


def _mirrored(cv2: Any, picture: Picture, *, across: bool, down: bool) -> Picture:
    picture = cv2.flip(picture, 1) if across else picture
    return cv2.flip(picture, 0) if down else picture


def _edges(scale: float, offset: float, side: int) -> tuple[int, int]:
    """First pixel and the one after the last that a side shows, its direction left aside."""
    ends = sorted((offset - 0.5 * scale + 0.5, offset + (side - 0.5) * scale + 0.5))
    return round(float(ends[0])), round(float(ends[1]))


def _bent(cv2: Any, each: NDArray[np.float32], bend: NDArray[np.float32], size: tuple[int, int]) -> tuple[Any, Any]:
    """Where each pixel comes from, in pixels: the affine map and a smooth field besides."""
    wide, high = size
    x, y = np.arange(wide, dtype=np.float32)[None], np.arange(high, dtype=np.float32)[:, None]
    smooth = [
        cv2.resize(part * side, size, interpolation=cv2.INTER_CUBIC) for part, side in zip(bend, size, strict=True)
    ]
    return (
        smooth[0] + (each[0, 0] * x + each[0, 1] * y + each[0, 2]),
        smooth[1] + (each[1, 0] * x + each[1, 1] * y + each[1, 2]),
    )


def mean_colours(pictures: Sequence[Picture]) -> Tensor:
    """[n, c] in [0, 1]."""
    n_channels = 1 if pictures[0].ndim == 2 else pictures[0].shape[2]
    mean = opencv().mean
    return torch.tensor([mean(picture)[:n_channels] for picture in pictures], dtype=torch.float32) / 255


def recoloured(pictures: Sequence[Picture], colours: ColourMap) -> list[Picture]:
    """Pictures through the map of their channels."""
    transform = opencv().transform
    maps = torch.cat([colours.matrix, 255 * colours.offset[:, :, None]], dim=2).numpy()
    return [transform(picture, each) for picture, each in zip(pictures, maps, strict=True)]


def tabled(pictures: Sequence[Picture], tables: NDArray[np.uint8]) -> list[Picture]:
    """Each byte replaced by its entry in the picture's table [256]."""
    lookup = opencv().LUT
    return [lookup(picture, table) for picture, table in zip(pictures, tables, strict=True)]


def softened(pictures: Sequence[Picture], shares: Sequence[float]) -> list[Picture]:
    """Pictures through ``smoothing`` of these shares, along one side and then the other."""
    filtered = opencv().sepFilter2D
    return [
        filtered(picture, -1, weights, weights) if share else picture
        for picture, share, weights in zip(pictures, shares, map(smoothing, shares), strict=True)
    ]


def softened_planes(images: NDArray[np.uint8], shares: Sequence[float]) -> Tensor:
    """``softened`` plane by plane, [n, c, h, w] in [0, 1]: nothing is put together and taken apart again."""
    filtered = opencv().sepFilter2D
    made = np.empty(images.shape, dtype=np.float32)
    for planes, share, scaled in zip(images, shares, made, strict=True):
        if not share:
            np.multiply(planes, np.float32(1 / 255), out=scaled)
            continue
        weights = smoothing(share)
        for plane, out in zip(planes, scaled, strict=True):
            np.multiply(filtered(plane, -1, weights, weights), np.float32(1 / 255), out=out)
    return torch.from_numpy(made)


def blotted(pictures: Sequence[Picture], boxes: Tensor) -> list[Picture]:
    """The boxes [4, n] of (top, left, bottom, right), shares of the sides, filled with each picture's mean colour."""
    cv2 = opencv()
    high, wide = pictures[0].shape[:2]
    made = []
    for picture, box in zip(pictures, boxes.T.tolist(), strict=True):
        top, left, bottom, right = (_first(edge, side) for edge, side in zip(box, (high, wide) * 2, strict=True))
        if top < bottom and left < right:
            n_channels = 1 if picture.ndim == 2 else picture.shape[2]
            colour = np.array(cv2.mean(picture)[:n_channels]).round()
            picture = picture.copy()
            picture[top:bottom, left:right] = colour.astype(np.uint8)
        made.append(picture)
    return made


def _first(edge: float, side: int) -> int:
    """The first pixel whose middle is not before the edge."""
    return max(math.ceil(edge * side - 0.5), 0)
