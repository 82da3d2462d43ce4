"""What making a step's samples takes."""

from __future__ import annotations

from trainwright.cost.table import Table
from trainwright.hardware.device import DeviceKind
from trainwright.units import Number


def samples_s(rows: Table, kind: DeviceKind) -> Number:
    """Seconds that a step is longer because its samples must be made.

    t = global_batch (1 - (1 - 1/dp)^(1 + partners)) sample_s on a CPU, where a replica makes its own before it computes
    and what is mixed into them, each partner a random shift away; 0 on accelerators, where workers make them on
    cores that have nothing else to do. Ignores workers that cannot keep up.

    >>> from trainwright.cost.table import table
    >>> from trainwright.jobs.job import Workload
    >>> from trainwright.jobs.strategy import Strategy
    >>> rows = table(Strategy(dp=2), Workload(global_batch=40, seq=1, sample_s=50e-6))
    >>> samples_s(rows, "cpu")
    array([0.001])
    >>> mixed = table(Strategy(dp=2), Workload(global_batch=40, seq=1, sample_s=50e-6, sample_partners=1))
    >>> samples_s(mixed, "cpu")
    array([0.0015])
    """
    if kind != "cpu":
        return 0.0
    made = 1 - (1 - 1 / rows.dp) ** (1 + rows.workload.sample_partners)
    return rows.workload.global_batch * made * rows.workload.sample_s
