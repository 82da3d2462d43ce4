"""What making a sample of a job takes, tried on a few of its images."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

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


def sample_seconds(job: Job) -> float:
    """Seconds of one core for each image of a step: picked, augmented, mixed, normalized. Size and channels are known.

    Processor time, so that what else the machine does matters less.
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
    try:
        seconds = [_seconds(task, step) for step in range(WARMUP + REPEATS)]
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


def _seconds(task: ImageTask, step: int) -> float:
    begin = time.process_time()
    task.made(step, 0, 1)
    return time.process_time() - begin
