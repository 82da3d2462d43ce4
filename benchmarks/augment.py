"""Images a second through batched augmentations, on one thread: python -m benchmarks.augment [SIDE ...]

Where albumentations is installed, the same steps by it too, called by hand. Both begin with bytes in memory and end
with a float tensor [n, c, h, w]. Processor seconds are counted, so that other work on the machine matters less.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from trainwright.data.augment import augment
from trainwright.jobs.augment import parse_chain
from trainwright.probe.allocator import keep_pages

TEN = ("flip", "crop 0.3 1", "rotate 15", "shift 0.1", "brightness", "contrast", "saturation", "hue", "blur", "erase")
CHAINS = {"all ten": TEN, "flip, crop": TEN[:2], "colour": TEN[4:8], "rotate": TEN[2:3], "blur": TEN[8:9]}
OURS_ALONE = {"elastic": ("elastic",), "randaugment": ("randaugment",)}


def rates(makers: Sequence[Callable[[int], object]], n_images: int, seconds: float = 3.0) -> list[float]:
    """Best images a second of each over repeated batches, in turn, so that a slow moment of the machine hits all."""
    best, begin, epoch = [0.0] * len(makers), time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for number, make in enumerate(makers):
            at = time.process_time()
            make(epoch)
            best[number] = max(best[number], n_images / (time.process_time() - at))
        epoch += 1
    return best


def ours(side: int, batch: int, chain: tuple[str, ...]) -> Callable[[int], object]:
    """Our batch of an epoch."""
    images, steps = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8), parse_chain(chain)
    return lambda epoch: augment(images, np.arange(batch), epoch, steps, seed=1)


def by_hand(side: int, batch: int, chain: tuple[str, ...]) -> Callable[[int], object] | None:
    """A batch by albumentations with the same steps; None where it is not installed."""
    try:
        import albumentations
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)
    pipeline = albumentations.Compose(_steps(albumentations, cv2.BORDER_REFLECT, side, chain))
    images = [np.random.randint(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(batch)]

    def make(_: int) -> torch.Tensor:
        done = [pipeline(image=image)["image"].transpose(2, 0, 1) for image in images]
        return torch.from_numpy(np.stack(done)).float().div_(255)

    return make


def _steps(library: Any, border: int, side: int, chain: tuple[str, ...]) -> list[Any]:
    factors = (0.5, 1.5)
    jitter = {name: factors for name in ("brightness", "contrast", "saturation") if name in chain}
    known = {
        "flip": lambda: library.HorizontalFlip(p=0.5),
        "crop 0.3 1": lambda: library.RandomResizedCrop(size=(side, side), scale=(0.3, 1), p=1),
        "rotate 15": lambda: library.Rotate(limit=15, border_mode=border, p=1),
        "shift 0.1": lambda: library.Affine(translate_percent=(-0.1, 0.1), border_mode=border, p=1),
        "brightness": lambda: library.ColorJitter(**jitter, hue=(-0.5, 0.5), p=1),
        "blur": lambda: library.GaussianBlur(blur_limit=(5, 5), p=0.5),
        "erase": lambda: library.CoarseDropout(
            num_holes_range=(1, 1), hole_height_range=(0.1, 0.5), hole_width_range=(0.1, 0.5), p=0.5
        ),
    }
    return [known[step]() for step in chain if step in known]


def main() -> None:
    """Print a line for each side and chain."""
    torch.set_num_threads(1)
    keep_pages()
    for side in [int(text) for text in sys.argv[1:]] or [32, 224]:
        batch = 256 if side <= 64 else 16
        for name, chain in {**CHAINS, **OURS_ALONE}.items():
            theirs = by_hand(side, batch, chain) if name in CHAINS else None
            found = rates([ours(side, batch, chain), *([theirs] if theirs else [])], batch)
            said = f"   albumentations {found[1]:8,.0f}" if theirs else ""
            print(f"{side:4d} px  {name:<12} {found[0]:8,.0f} images/s{said}", flush=True)


if __name__ == "__main__":
    main()
