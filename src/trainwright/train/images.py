"""The image task: augmented images of a step, normalized, and the classes (or shares of them) they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainwright.data.augment import augment
from trainwright.data.images import Images
from trainwright.data.loader import Loader
from trainwright.data.mixing import mix_of, mixed_rows
from trainwright.jobs.augment import Augment
from trainwright.jobs.job import Balance
from trainwright.train.task import Rows, Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """(pixel - mean) / deviation of each channel, pixels in [0, 1]."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def of(self, images: Tensor) -> Tensor:
        """Normalized images [n, c, h, w], in place."""
        mean, deviation = (torch.tensor(v, device=images.device)[:, None, None] for v in (self.mean, self.deviation))
        return images.sub_(mean).div_(deviation)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTask:
    """Classification of the images of a run; one order of all images an epoch, from (seed, epoch)."""

    images: Images
    normalization: Normalization
    global_batch: int
    seed: int
    chain: tuple[Augment, ...] = ()
    balance: Balance = "none"
    n_workers: int = 0
    counts_hits: bool = True
    _loaders: dict[tuple[int, int], Loader[Rows]] = field(default_factory=dict)

    @property
    def per_step(self) -> int:
        """Images of one global batch."""
        return self.global_batch

    @property
    def has_held_out(self) -> bool:
        """Whether images were held out."""
        return len(self.images.held_out.labels) > 0

    @property
    def identity(self) -> Mapping[str, int]:
        """What makes the order of the images."""
        return {"seed": self.seed, "global_batch": self.global_batch, "n_images": len(self.images.train.labels)}

    def rows(self, step: int, index: int, n_replicas: int) -> Rows:
        """This replica's images of the step, made ahead where there are workers."""
        key = (index, n_replicas)
        if key not in self._loaders:
            self._loaders[key] = Loader(make=lambda s: self.made(s, *key), n_workers=self.n_workers)
        return self._loaders[key].take(step)

    def made(self, step: int, index: int, n_replicas: int) -> Rows:
        """The same, made now: a function of the step and the part alone."""
        ids, epochs = self.samples(step)
        wanted = np.array_split(np.arange(self.global_batch), n_replicas)[index]
        mix = mix_of(self.chain, self.seed, step, self.global_batch)
        partners = [] if mix is None else [row[wanted] for row in mix.partners]
        needed = np.unique(np.concatenate([wanted, *partners]))
        parts = []
        for epoch in np.unique(epochs[needed]):
            inside = needed[epochs[needed] == epoch]
            parts.append((inside, self.augmented(ids[inside], int(epoch))))
        order = np.concatenate([inside for inside, _ in parts])
        pixels = torch.cat([made for _, made in parts])
        at = np.full(self.global_batch, -1, dtype=np.int64)
        at[order] = np.arange(len(order))
        labels = torch.from_numpy(self.images.train.labels[ids])
        if mix is None:
            return self.normalization.of(pixels[torch.from_numpy(at[wanted])]), self._targets(labels[wanted])
        mixed, shares = mixed_rows(pixels, self._shares(labels[torch.from_numpy(order)]), mix, wanted, at)
        return self.normalization.of(mixed), shares

    def augmented(self, ids: NDArray[np.int64], epoch: int) -> Tensor:
        """Training images of these numbers through the chain, [n, c, h, w] in [0, 1]."""
        pixels = torch.from_numpy(np.ascontiguousarray(self.images.train.pixels[ids]))
        return augment(pixels, ids, epoch, self.chain, self.seed)

    def held_out(self, index: int, n_replicas: int, at_once: int) -> Iterator[Shown]:
        """This replica's share of the held-out images, as they are."""
        numbers = np.arange(len(self.images.held_out.labels))[index::n_replicas]
        for begin in range(0, len(numbers), at_once):
            some = numbers[begin : begin + at_once]
            pixels = torch.from_numpy(np.ascontiguousarray(self.images.held_out.pixels[some])).float().div_(255)
            yield self.normalization.of(pixels), torch.from_numpy(self.images.held_out.labels[some])

    def sources(self, step: int) -> list[str]:
        """Names of the step's images."""
        return [self.images.train.names[number] for number in self.samples(step)[0]]

    def samples(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the training images of the step's global batch, and the epoch of each."""
        labels = self.images.train.labels
        places = np.arange(step * self.global_batch, (step + 1) * self.global_batch)
        epochs, within = np.divmod(places, len(labels))
        ids = np.empty(self.global_batch, dtype=np.int64)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            ids[inside] = epoch_order(tuple(labels), self.seed, int(epoch), self.balance == "resample")[within[inside]]
        return ids, epochs

    def _targets(self, labels: Tensor) -> Tensor:
        return self._shares(labels) if self.balance == "weight" else labels

    def _shares(self, labels: Tensor) -> Tensor:
        """One-hot rows; with weights, each as heavy as its class is rare, 1 on average."""
        shares = torch.eye(len(self.images.classes))[labels]
        if self.balance != "weight":
            return shares
        counts = torch.tensor(self.images.counts).float().clamp(min=1)
        return shares * (counts.sum() / (counts * len(counts)))[labels][:, None]


@lru_cache(maxsize=4)
def epoch_order(labels: Sequence[int], seed: int, epoch: int, evenly: bool) -> NDArray[np.int64]:
    """All images once in a random order; ``evenly`` draws so many with each class as likely as any other."""
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    if not evenly:
        return np.asarray(random.permutation(len(labels)), dtype=np.int64)
    classes = np.asarray(labels)
    weights = 1 / np.bincount(classes)[classes]
    return np.asarray(random.choice(len(classes), len(classes), p=weights / weights.sum()), dtype=np.int64)
