"""A job's data in its run folder, made once: tokens or images."""

from __future__ import annotations

from pathlib import Path

from trainwright.data.images import prepare_images
from trainwright.data.tokens import prepare_tokens
from trainwright.jobs.job import Job


def prepare_data(folder: Path, job: Job) -> None:
    """Make the folder, or check that what it was made from is what it was."""
    if job.images is None:
        prepare_tokens(folder, job.data, job.seq)
    else:
        prepare_images(folder, job.images, job.seed)
