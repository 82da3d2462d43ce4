"""One image file to pixels: any mode, depth and orientation that Pillow reads, as uint8 planes of one size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from trainwright.errors import DataError, MissingExtraError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Pixels [channels, size, size], and the shorter side of the file they came from (None: made for any size)."""

    pixels: NDArray[np.uint8]
    side: int | None = None


def read_picture(source: Path | BinaryIO, size: int, channels: int, name: str = "") -> Picture:
    """Turned as its EXIF says, its middle cut square, transparent parts on white.

    ``name`` is what errors call it, where it is no file. 16-bit files keep their upper 8 bits; CMYK, palettes and grey
    become what is asked. Raises DataError when the file is not an image or is cut short.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise MissingExtraError("reading images needs Pillow", hint="pip install 'trainwright[train]'") from None
    try:
        with Image.open(source) as file:
            file.load()
            image = ImageOps.exif_transpose(file)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        what = "is not an image" if isinstance(error, UnidentifiedImageError) else f"cannot be read: {error}"
        raise DataError(f"{name or source} {what}", hint="restore it or remove it") from error
    if image.mode.startswith("I") or image.mode == "F":
        deep = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((deep / (257.0 if deep.max() > 255 else 1.0)).clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    fitted = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(fitted, dtype=np.uint8)
    planes = pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return Picture(pixels=planes, side=min(image.size))


def enlarged(pictures: Iterable[Picture], size: int) -> str | None:
    """What to say of pictures that are smaller than what is made of them; None where none is.

    >>> enlarged([Picture(pixels=np.zeros((1, 9, 9)), side=side) for side in (5, 9, None)], 9)
    '1 of 3 images are smaller than 9 x 9 pixels, the smallest 5'
    """
    read = list(pictures)
    small = [picture.side for picture in read if picture.side is not None and picture.side < size]
    if not small:
        return None
    return f"{len(small)} of {len(read)} images are smaller than {size} x {size} pixels, the smallest {min(small)}"


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """[channels, h, w] as a PNG."""
    from PIL import Image

    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(path, format="PNG")
