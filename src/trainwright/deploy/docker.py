"""A Dockerfile that holds Trainwright and what training needs."""

from __future__ import annotations

import trainwright
from trainwright.deploy.target import Target

_DOCKERFILE = """FROM python:3.11-slim
RUN pip install --no-cache-dir "trainwright[train]=={version}"
# Nothing is written outside the run folder and this cache.
ENV TRAINWRIGHT_CACHE=/tmp/trainwright OMP_NUM_THREADS={threads}
RUN useradd --create-home trainer
USER trainer
# Start it with: docker run --shm-size=2g -v RUNS:{folder} IMAGE
CMD ["python", "-m", "trainwright", "train", "{folder}"]
"""


def docker_files(target: Target) -> dict[str, str]:
    """The files to write, by name."""
    text = _DOCKERFILE.format(version=trainwright.__version__, threads=target.threads_per_process, folder=target.folder)
    return {"Dockerfile": text}
