"""A job's data in its run folder, made once: tokens or images."""

from __future__ import annotations

from pathlib import Path

from trainwright.data.images import prepare_images
from trainwright.data.tokens import prepare_tokens
from trainwright.errors import DataError
from trainwright.jobs.job import Job
from trainwright.jobs.store import job_from_dict
from trainwright.records.plan import PlanRecord


def prepare_data(folder: Path, job: Job) -> None:
    """Make the folder, or check that what it was made from is what it was."""
    if job.example:
        return  # made up as the run goes
    if job.images is None:
        prepare_tokens(folder, job.data, job.seq)
    else:
        prepare_images(folder, job.images, job.seed)


def prepare_run(folder: Path, plan: PlanRecord) -> None:
    """The data of a run folder, as its plan says; DataError when it cannot be written."""
    try:
        prepare_data(folder / "data", job_from_dict(plan.job))
    except OSError as error:
        raise DataError(f"cannot write {folder / 'data'}: {error.strerror}", hint="make room there") from error
