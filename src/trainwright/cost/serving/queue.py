"""How long a request waits before it is served, at a mean rate of arrivals: two classic results.

Arrivals are taken as Poisson, which real traffic is burstier than (BurstGPT, arXiv:2401.17644): leave headroom.
"""

from __future__ import annotations

import numpy as np

from trainwright.units import Number


def single_server_wait_s(rate: Number, service_s: Number, service_cv: float = 0.0) -> Number:
    """Mean wait of an M/G/1 queue: rate E[S^2] / 2 (1 - load), endless from load 1 on.

    Source: Pollaczek 1930, Khinchine 1932; Kleinrock, "Queueing systems", volume 1, 1975, section 5.6.

    >>> float(single_server_wait_s(0.5, 1.0, service_cv=1.0))  # M/M/1 at half load waits one service time
    1.0
    """
    load = rate * service_s
    square = service_s * service_s * (1.0 + service_cv**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        wait: Number = np.where(load < 1.0, rate * square / (2.0 * (1.0 - load)), np.inf)
    return wait


def many_servers_wait_s(rate: Number, service_s: Number, servers: Number, service_cv: float = 1.0) -> Number:
    """Mean wait of an M/G/k queue, (1 + cv^2) / 2 times that of M/M/k by Sakasegawa's approximation.

    t = (1 + cv^2)/2 * service / k * load^(sqrt(2 (k + 1)) - 1) / (1 - load)

    Source: Sakasegawa, Ann. Inst. Statist. Math. 29, 1977; Whitt, Prod. Oper. Manag. 2(2), 1993, formula 2.24.

    >>> float(many_servers_wait_s(0.5, 1.0, 1.0))
    1.0
    """
    load = rate * service_s / servers
    power = np.sqrt(2.0 * (servers + 1.0)) - 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        queued = service_s / servers * np.minimum(load, 1.0) ** power / (1.0 - load)
        wait: Number = np.where(load < 1.0, 0.5 * (1.0 + service_cv**2) * queued, np.inf)
    return wait
