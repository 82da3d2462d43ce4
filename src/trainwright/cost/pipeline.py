"""How long a pipeline takes, given what one micro-batch takes on each stage."""

from __future__ import annotations

import numpy as np

from trainwright.cost.table import Array, Table

ZERO_BUBBLE_SHARE = 1.0 / 3.0
"""What ZB-H1 leaves of the bubble of 1F1B when forward and both halves of backward take equally long.

Source: Qi et al., "Zero bubble pipeline parallelism", arXiv:2401.10241, table 2: (p-1)(F + B - W) of (p-1)(F + B + W).
"""


def bubble_s(stage_s: Array, weight: Array, table: Table) -> Array:
    """Seconds that the pacing stage waits in one step.

    T = n_micro * slowest + (sum over stages - slowest) / v; the bubble is T less what the slowest does. With equal
    stages this is (p - 1)(forward + backward) / v. ``stage_s`` and ``weight``: (stages, candidates).

    Source: Narayanan et al., SC21 (arXiv:2104.04473), section 2.2, with stages that differ.
    Ignores the time a stage waits when it is not the slowest only in some micro-batches.
    """
    slowest = np.max(np.where(weight > 0, stage_s, 0.0), axis=0)
    fill_s = np.sum(stage_s * weight, axis=0) - slowest
    schedule = table.strategy.schedule
    if schedule == "interleaved":
        fill_s = fill_s / table.virtual_stages
    elif schedule == "zero_bubble":
        fill_s = fill_s * np.where(table.virtual_stages > 1, 0.0, ZERO_BUBBLE_SHARE)
    idle_s: Array = np.maximum(fill_s, 0.0)
    return idle_s


def sends_s(one_send_s: Array, table: Table, overlap: float) -> Array:
    """Exposed seconds of sends between stages in one step.

    Each micro-batch is received forward and backward once for every chunk of the model a stage holds; the fill and
    the drain pass every boundary once more.
    """
    chunks = np.where(table.strategy.schedule == "interleaved", table.virtual_stages, 1.0)
    steady = 2.0 * table.n_micro * chunks * (1.0 - overlap)
    seconds: Array = one_send_s * (steady + 2.0 * (table.pp - 1.0))
    return np.where(table.pp > 1, seconds, 0.0)
