"""The small convolutional net: four blocks of convolution, group norm and ReLU, a mean over the plane, a linear head.

Group norm (Wu and He, arXiv:1803.08494), so that several processes compute what one does.
"""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor, nn

GROUPS = 8


class SmallCnn(nn.Module):
    """Images [n, channels, h, w] to logits [n, n_classes]; the plane is halved before the second and third block."""

    def __init__(self, n_classes: int, channels: int = 3, width: int = 32) -> None:
        super().__init__()
        widths = (width, width, 2 * width, 2 * width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inner, outer, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, outer), nn.ReLU())
            for inner, outer in zip((channels, *widths[:-1]), widths, strict=True)
        )
        self.head = nn.Linear(widths[-1], n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        for depth, block in enumerate(self.blocks):
            x = block(functional.max_pool2d(x, 2) if depth in (1, 2) else x)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def small_cnn(n_classes: int, channels: int = 3, width: int = 32) -> nn.Module:
    """The net with random weights."""
    return SmallCnn(n_classes, channels, width)
