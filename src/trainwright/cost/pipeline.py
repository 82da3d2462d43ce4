"""How much of its fill and drain a pipeline's schedule leaves idle.

T = n_micro * slowest + (sum over stages - slowest) * share; with equal stages and 1F1B (share 1) the bubble is
(p - 1)(forward + backward). Source: Narayanan et al., SC21 (arXiv:2104.04473), section 2.2, with stages that differ.
Ignores the time a stage waits when it is the slowest only in some micro-batches.
"""

from __future__ import annotations

import numpy as np

from trainwright.cost.table import Array, Table

ZERO_BUBBLE_SHARE = 1.0 / 3.0
"""What ZB-H1 leaves of the bubble of 1F1B when forward and both halves of backward take equally long.

Source: Qi et al., "Zero bubble pipeline parallelism", arXiv:2401.10241, table 2: (p-1)(F + B - W) of (p-1)(F + B + W).
"""


def fill_share(table: Table) -> Array:
    """The share of the fill that stays idle: 1, 1 / v when interleaved; zero-bubble a third, with two chunks none."""
    schedule = table.strategy.schedule
    if schedule == "interleaved":
        return 1.0 / table.virtual_stages
    if schedule == "zero_bubble":
        return np.where(table.virtual_stages > 1, 0.0, ZERO_BUBBLE_SHARE)
    return np.ones(table.n)
