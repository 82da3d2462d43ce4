"""Random numbers that depend on (seed, epoch, sample, draw) alone: whatever the workers, the batch or the mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): every bit of the input moves every other."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Draws:
    """A source of uniform numbers for some samples; each call with another ``draw`` is another number."""

    keys: NDArray[np.uint64]

    def uniform(self, draw: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """One number in [low, high) for each sample, in fp32."""
        with np.errstate(over="ignore"):
            bits = mixed(self.keys + np.uint64(draw + 1) * _GOLDEN)
        share = (bits >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
        return torch.from_numpy(low + (high - low) * share)

    def chance(self, draw: int, share: float) -> Tensor:
        """True for about this share of the samples."""
        return self.uniform(draw) < share


def draws(seed: int, epoch: int, ids: NDArray[np.int64]) -> Draws:
    """The numbers of these samples in this epoch.

    >>> one, two = draws(1, 0, np.array([5, 9])).uniform(3), draws(1, 0, np.array([9])).uniform(3)
    >>> bool(one[1] == two[0])
    True
    """
    with np.errstate(over="ignore"):
        stream = mixed(np.array([seed], dtype=np.uint64) * _GOLDEN + np.uint64(epoch + 1))
        return Draws(mixed(stream + ids.astype(np.uint64) * _GOLDEN))
