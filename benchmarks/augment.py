"""Images a second through ten batched augmentations, on one thread: python benchmarks/augment.py [SIDE ...]"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

from trainwright.data.augment import augment
from trainwright.jobs.augment import parse_chain

TEN = ("flip", "crop 0.3 1", "rotate 15", "shift 0.1", "brightness", "contrast", "saturation", "hue", "blur", "erase")


def rate(side: int, batch: int, chain: tuple[str, ...], seconds: float = 1.5) -> float:
    """Best images a second over repeated batches."""
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    steps, best, begin, epoch = parse_chain(chain), 0.0, time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        at = time.perf_counter()
        augment(images, np.arange(batch), epoch, steps, seed=1)
        best, epoch = max(best, batch / (time.perf_counter() - at)), epoch + 1
    return best


def main() -> None:
    """Print a line for each side and chain."""
    torch.set_num_threads(1)
    for side in [int(text) for text in sys.argv[1:]] or [32, 224]:
        batch = 256 if side <= 64 else 16
        for chain in (TEN, *((step,) for step in (*TEN, "randaugment"))):
            name = "all ten" if chain is TEN else chain[0]
            print(f"{side:4d} px  {name:<14} {rate(side, batch, chain, 1.5 if chain is TEN else 0.3):10,.0f} images/s")


if __name__ == "__main__":
    main()
