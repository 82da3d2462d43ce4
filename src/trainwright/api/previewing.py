"""The grid picture of a job's augmented images."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError

GAP = 2
CELL = 64
"""Smaller images are drawn larger, each pixel as a square."""


def preview(path: Path, output: Path, rows: int, columns: int) -> dict[str, Any]:
    """Write the picture; returns classes with their counts, sizes and notes. Mixing is left out: it needs a batch."""
    import numpy as np
    import torch

    from trainwright.api.images import settled
    from trainwright.data.augment import augment
    from trainwright.data.images import prepare_images
    from trainwright.data.picture import write_picture
    from trainwright.jobs.parse import load_job

    job = load_job(path)
    if job.images is None:
        raise InvalidInputError(f"{path} has no images to show", hint='name some, as in [data] builtin = "digits"')
    job = settled(job)
    assert job.images is not None
    with tempfile.TemporaryDirectory() as folder:
        images = prepare_images(Path(folder), job.images, job.seed)
        ids = np.unique(np.linspace(0, len(images.train.labels) - 1, rows).astype(np.int64))
        pixels = torch.from_numpy(np.ascontiguousarray(images.train.pixels[ids]))
        drawn = [pixels.float() / 255]
        drawn += [augment(pixels, ids, epoch, job.augment, job.seed) for epoch in range(columns - 1)]
    zoom = max(CELL // int(pixels.shape[-1]), 1)
    drawn = [each.repeat_interleave(zoom, dim=2).repeat_interleave(zoom, dim=3) for each in drawn]
    padded = torch.nn.functional.pad(torch.stack(drawn, dim=1), (GAP, 0, GAP, 0), value=1.0)
    n, across, channels, high, wide = padded.shape
    grid = padded.permute(2, 0, 3, 1, 4).reshape(channels, n * high, across * wide)
    write_picture(output, (grid * 255).round().to(torch.uint8).numpy())
    return {
        "training_images": dict(zip(images.classes, images.counts, strict=True)),
        "held_out_images": len(images.held_out.labels),
        "size": int(images.train.pixels.shape[-1]),
        "channels": int(images.train.pixels.shape[1]),
        "mean": images.mean,
        "deviation": images.deviation,
        "notes": images.notes,
    }
