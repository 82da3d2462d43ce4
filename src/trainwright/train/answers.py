"""What a finished classifier says of images, once or over augmented views of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainwright.data.augment import augment
from trainwright.data.start import ABOUT, Start, read_start, start_weights
from trainwright.jobs.augment import Augment
from trainwright.runtime.model import build_model, logits_of
from trainwright.train.images import Normalization

AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Test-time augmentation: ``n`` views of each image, the first as it is, the others through the chain."""

    n: int = 1
    chain: Sequence[Augment] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A finished run's model with what it needs of its images."""

    model: nn.Module
    about: Start
    normalization: Normalization


def classifier(run: Path) -> Classifier:
    """The exported model of a run folder."""
    about = read_start(run)
    model = build_model(about.config, 0)
    model.load_state_dict(start_weights(about))
    assert about.mean is not None, f"{about.folder / ABOUT} has one"
    assert about.deviation is not None
    normalization = Normalization(mean=about.mean, deviation=about.deviation)
    return Classifier(model=model.eval(), about=about, normalization=normalization)


@torch.no_grad()
def chances(of: Classifier, pixels: NDArray[np.uint8], views: Views) -> tuple[NDArray[np.float64], float]:
    """([n, classes], seconds an image): the mean over the views of what the model says of images [n, c, h, w]."""
    total = np.zeros((len(pixels), len(of.about.classes)))
    begin = time.perf_counter()
    for first in range(0, len(pixels), AT_ONCE):
        some = torch.from_numpy(np.array(pixels[first : first + AT_ONCE]))
        ids = np.arange(first, first + len(some))
        for view in range(views.n):
            images = augment(some, ids, view, views.chain if view else (), views.seed)
            said = logits_of(of.model, of.normalization.of(images)).double().softmax(-1)
            total[first : first + len(some)] += said.numpy() / views.n
    return total, (time.perf_counter() - begin) / max(len(pixels), 1)
