"""What making a sample of a job takes, tried on a few of its images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from trainwright.data.images import Images, split
from trainwright.data.listing import list_images
from trainwright.data.reading import Part, read_part
from trainwright.jobs.job import Job
from trainwright.probe.allocator import keep_pages
from trainwright.train.images import ImageTask, Normalization

READ = 16
"""Images that are read for the trial; what they show does not matter to its time, so that they stand for all others."""
IN_ALL = 512
BATCH = 64
"""Images of the batch that is tried; larger batches take in proportion."""
WARMUP, REPEATS = 3, 8
CACHE_BYTES = 2 * 2**20


def sample_seconds(job: Job) -> float:
    """Seconds of one core for each image of a step: picked, augmented, mixed, normalized. Size and channels are known.

    This thread's processor time, so that what else the machine (or a pool of idle threads) does matters less. Between
    two batches something is computed, as in a step: from caches still warm with the last batch, one of 25 digits takes
    0.16 ms, and 0.40 in a step.
    """
    data = job.images
    assert data is not None
    assert data.channels is not None
    task = ImageTask(
        images=_images(job),
        normalization=Normalization(mean=(0.5,) * data.channels, deviation=(0.5,) * data.channels),
        global_batch=min(job.global_batch, BATCH),
        seed=job.seed,
        chain=job.augment,
        balance=data.balance,
    )
    n_threads = torch.get_num_threads()
    keep_pages()
    torch.set_num_threads(1)
    compute = _computing()
    try:
        seconds = [_seconds(task, step, compute) for step in range(WARMUP + REPEATS)]
    finally:
        torch.set_num_threads(n_threads)
    return statistics.fmean(seconds[WARMUP:]) / task.global_batch


def _images(job: Job) -> Images:
    """As many images as the job has, up to IN_ALL, all of them copies of a few."""
    data = job.images
    assert data is not None
    listing = list_images(data)
    training = split(listing, data, job.seed)[0]
    few = read_part(training[:: max(len(training) // READ, 1)][:READ], listing.classes, data, [])
    n_images = min(len(training), IN_ALL)
    copies = np.arange(n_images) % len(few.labels)
    part = Part(pixels=few.pixels[copies], labels=few.labels[copies], names=())
    none = Part(pixels=few.pixels[:0], labels=few.labels[:0], names=())
    return Images(train=part, held_out=none, classes=listing.classes, mean=(), deviation=())


def _computing() -> Callable[[], object]:
    """A convolution forward and backward, and a sweep over as much as a core's own caches hold."""
    layer, images, others = nn.Conv2d(32, 64, 3), torch.zeros(16, 32, 16, 16), torch.zeros(CACHE_BYTES // 4)

    def compute() -> None:
        layer(images).sum().backward()
        others.add_(1.0)

    return compute


def _seconds(task: ImageTask, step: int, compute: Callable[[], object]) -> float:
    compute()
    begin = time.thread_time()
    task.made(step, 0, 1)
    return time.thread_time() - begin
