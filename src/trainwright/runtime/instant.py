"""Points in time: the host's clock, or on a GPU events in its stream, since the host runs ahead of it."""

from __future__ import annotations

import time
from typing import Any

import torch

Instant = Any  # seconds on the host's clock, or a CUDA event


def instant() -> Instant:
    """Now; on a GPU, when it gets there."""
    if not torch.cuda.is_initialized():
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def settle() -> None:
    """Wait until every instant has come; before seconds_between."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def seconds_between(begin: Instant, end: Instant) -> float:
    """Seconds from one instant to a later one.

    >>> seconds_between(1.25, 3.0)
    1.75
    """
    if isinstance(begin, float):
        return float(end - begin)
    return 1e-3 * float(begin.elapsed_time(end))
