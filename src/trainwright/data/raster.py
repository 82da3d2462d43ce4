"""The steps of a chain on the CPU: one image after another through OpenCV, in bytes.

A picture is [h, w, c] (grey, or one plane of an image: [h, w]) uint8. What is drawn at random comes from the callers,
so that these and the tensor operations of data/planes.py make the same change, to the rounding of bytes and of windows
to whole pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainwright.data.colour import ColourMap
from trainwright.data.planes import smoothing
from trainwright.errors import MissingExtraError

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
BYTE = np.float32(1 / 255)
MIRRORED = {(False, False): None, (True, False): 1, (False, True): 0, (True, True): -1}
"""How OpenCV calls a flip (across, down)."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of an image's pictures: all of it, or its planes one by one.

    ``into`` writes the same in [0, 1], not rounded to bytes, where that is faster.
    """

    of: Callable[[Picture], Picture]
    into: Callable[[Picture, Floats], object] | None = None


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


def give(pictures: Sequence[Picture], made: Floats) -> None:
    """Write the pictures as planes [n, c, h, w] in [0, 1]."""
    planes = [each[None] if each.ndim == 2 else each.transpose(2, 0, 1) for each in pictures]
    np.multiply(np.stack(planes), BYTE, out=made)


def change_planes(images: NDArray[np.uint8], changes: Sequence[Sequence[Change]], made: Floats) -> None:
    """Write each plane of [n, c, h, w], through its image's changes, in [0, 1]: one after another stays in cache."""
    for planes, (*before, last), targets in zip(images, changes, made, strict=True):
        for plane, target in zip(planes, targets, strict=True):
            picture: Picture = plane
            for change in before:
                picture = change.of(picture)
            if last.into is not None:
                last.into(picture, target)
            else:
                np.multiply(last.of(picture), BYTE, out=target)


def warps(whole: Tensor, bends: Tensor | None, size: tuple[int, int], *, black: bool) -> list[Change]:
    """How images of (height, width) are seen through the matrices [n, 3, 3]: bilinear, mirrored or ``black`` beyond.

    ``bends`` [n, 2, k, k]: how far each of k x k points lies off besides, in x and in y, as shares of the sides.
    """
    cv2, (high, wide) = opencv(), size
    to_pixels = np.array([[wide / 2, 0, (wide - 1) / 2], [0, high / 2, (high - 1) / 2], [0, 0, 1]])
    maps = (to_pixels @ whole.double().numpy() @ np.linalg.inv(to_pixels)).astype(np.float32)
    border = cv2.BORDER_CONSTANT if black else cv2.BORDER_REFLECT
    if bends is not None:
        return [_bend(cv2, _bent(cv2, *each, size), border) for each in zip(maps, bends.numpy(), strict=True)]
    straight = (maps[:, 0, 1] == 0) & (maps[:, 1, 0] == 0)
    lefts, rights = _edges(maps[:, 0, 0], maps[:, 0, 2], wide)
    tops, bottoms = _edges(maps[:, 1, 1], maps[:, 1, 2], high)
    inside = straight & (lefts >= 0) & (lefts < rights) & (rights <= wide)
    inside &= (tops >= 0) & (tops < bottoms) & (bottoms <= high)
    windows = np.stack([tops, bottoms, lefts, rights, maps[:, 0, 0] < 0, maps[:, 1, 1] < 0], axis=1).tolist()
    return [
        _cut(cv2, window, size) if is_inside else _turn(cv2, each[:2], size, border)
        for is_inside, window, each in zip(inside.tolist(), windows, maps, strict=True)
    ]


def _edges(scale: NDArray[np.float32], offset: NDArray[np.float32], side: int) -> tuple[Any, Any]:
    """First pixels and the ones after the last that sides show, their direction left aside."""
    one, other = offset - 0.5 * scale + 0.5, offset + (side - 0.5) * scale + 0.5
    first, last = (np.rint(end(one, other)).astype(np.int64) for end in (np.minimum, np.maximum))
    return first, last


def _cut(cv2: Any, window: Sequence[int], size: tuple[int, int]) -> Change:
    """A window, to whole pixels, is cut and resized: five times as fast as a turn."""
    top, bottom, left, right, across, down = window
    mirrored, form, is_whole = MIRRORED[bool(across), bool(down)], size[::-1], (bottom - top, right - left) == size

    def part(picture: Picture) -> Picture:
        found: Picture = picture[top:bottom, left:right]
        return found if mirrored is None else cv2.flip(found, mirrored)

    def of(picture: Picture) -> Picture:
        found = part(picture)
        return found if is_whole else cv2.resize(found, form, interpolation=cv2.INTER_LINEAR)

    def into(picture: Picture, target: Floats) -> object:
        if is_whole:
            return np.multiply(part(picture), BYTE, out=target)
        return cv2.resize(np.multiply(part(picture), BYTE), form, dst=target, interpolation=cv2.INTER_LINEAR)

    return Change(of, into)


def _turn(cv2: Any, matrix: NDArray[np.float32], size: tuple[int, int], border: int) -> Change:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return Change(lambda picture: cv2.warpAffine(picture, matrix, size[::-1], flags=flags, borderMode=border))


def _bend(cv2: Any, field: tuple[Any, Any], border: int) -> Change:
    return Change(lambda picture: cv2.remap(picture, *field, cv2.INTER_LINEAR, borderMode=border))


def _bent(cv2: Any, each: NDArray[np.float32], bend: NDArray[np.float32], size: tuple[int, int]) -> tuple[Any, Any]:
    """Where each pixel comes from, in pixels: the affine map and a smooth field besides."""
    high, wide = size
    x, y = np.arange(wide, dtype=np.float32)[None], np.arange(high, dtype=np.float32)[:, None]
    smooth = [
        cv2.resize(part * side, (wide, high), interpolation=cv2.INTER_CUBIC)
        for part, side in zip(bend, (wide, high), strict=True)
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


def softer(shares: NDArray[np.float32]) -> list[Change]:
    """``smoothing`` of these shares, along one side and then the other."""
    weights, moves = smoothing(shares.astype(np.float64)[:, None]), (shares != 0).tolist()
    return [_soft(each) if moved else AS_IT_IS for each, moved in zip(weights, moves, strict=True)]


def _soft(weights: NDArray[np.float64]) -> Change:
    filtered = opencv().sepFilter2D
    return Change(lambda picture: filtered(picture, -1, weights, weights))


AS_IT_IS = Change(lambda picture: picture)


def blots(boxes: Tensor, size: tuple[int, int]) -> list[Change]:
    """The boxes [4, n] of (top, left, bottom, right), shares of (height, width), filled with the picture's mean."""
    return [_blot([_first(e, side) for e, side in zip(box, size * 2, strict=True)]) for box in boxes.T.tolist()]


def _blot(box: Sequence[int]) -> Change:
    cv2, (top, left, bottom, right) = opencv(), box

    def change(picture: Picture) -> Picture:
        n_channels = 1 if picture.ndim == 2 else picture.shape[2]
        colour, changed = np.array(cv2.mean(picture)[:n_channels]).round(), picture.copy()
        changed[top:bottom, left:right] = colour.astype(np.uint8)
        return changed

    return Change(change) if top < bottom and left < right else AS_IT_IS


def _first(edge: float, side: int) -> int:
    """The first pixel whose middle is not before the edge."""
    return max(math.ceil(edge * side - 0.5), 0)
