"""Two things at once on one device: what hides, and what both lose by it."""

from __future__ import annotations

import numpy as np

from trainwright.units import Number


def exposed_s(work_s: Number, window_s: Number, share: Number, interference: Number) -> tuple[Number, Number]:
    """(exposed, hidden) seconds of ``work_s`` of communication beside ``window_s`` of compute.

    hidden = min(share work, window); exposed = work - hidden + (interference - 1) hidden

    Source: Miao et al., "Galvatron", VLDB 2023 (the slow-down of overlapped kernels, 1.1 to 1.3).

    >>> [float(s) for s in exposed_s(2.0, 10.0, 1.0, 1.0)], [float(s) for s in exposed_s(12.0, 10.0, 1.0, 1.5)]
    ([0.0, 2.0], [7.0, 10.0])
    """
    hidden = np.minimum(share * work_s, window_s)
    return work_s - hidden + (interference - 1.0) * hidden, hidden


def host_bound_s(host_s: Number, device_s: Number) -> Number:
    """Seconds that a device waits for a host that runs ahead of it: (host^3 + device^3)^(1/3) - device.

    A smooth max(host, device): near a tie, kernels of uneven length leave gaps that a plain maximum would not see.
    The power fits vTrain's single-node runs (MICRO 2024), where host and device are often near a tie.

    >>> round(float(host_bound_s(1.0, 10.0)), 4), round(float(host_bound_s(10.0, 1.0)), 2)
    (0.0033, 9.0)
    """
    longest = np.maximum(np.maximum(host_s, device_s), 1e-12)
    ratio = np.minimum(host_s, device_s) / longest
    both: Number = longest * np.cbrt(1.0 + ratio * ratio * ratio)
    return both - device_s
