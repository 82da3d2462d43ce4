"""What a finished classifier says of images, once or over augmented views of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
A_FEW, A_FEW_BYTES = 32, 2**20
"""Images that tell beforehand what many will take; of small ones as many as are judged at once: calls cost too."""


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


def view_seconds(config: dict[str, Any], pixels: NDArray[np.uint8], views: Views) -> tuple[float, float]:
    """Seconds an image with one view and with all, tried on a few images with an untrained model of this config."""
    n_tried = min(max(A_FEW, A_FEW_BYTES // max(pixels[:1].nbytes, 1)), AT_ONCE)
    model, few = build_model(config, 0).eval(), np.array(pixels[:n_tried])
    n_channels, n_few = few.shape[1], max(len(few), 1)
    plain = Normalization(mean=(0.5,) * n_channels, deviation=(0.5,) * n_channels)
    seconds = []
    for _ in range(2):  # the first time around is a warm-up
        begin = time.perf_counter()
        images = augment(torch.from_numpy(few), np.arange(len(few)), 1, views.chain, views.seed)
        made = time.perf_counter()
        with torch.no_grad():
            logits_of(model, plain.of(images))
        seconds = [(made - begin) / n_few, (time.perf_counter() - made) / n_few]
    return seconds[1], (views.n - 1) * seconds[0] + views.n * seconds[1]
