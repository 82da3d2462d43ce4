"""Where one process of a run stands, and how it joins the others."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from trainwright.env import Launched
from trainwright.errors import TrainwrightError

COLLECTIVE_TIMEOUT_S = 900.0
"""A collective that waits longer than this for another rank fails, and the run with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """This process among ``n_processes``."""

    rank: int = 0
    n_processes: int = 1
    local_rank: int = 0
    n_threads: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes records and talks."""
        return self.rank == 0


def use_threads(n_threads: int) -> None:
    """Give torch's kernels so many threads."""
    if torch.get_num_threads() != n_threads:
        torch.set_num_threads(n_threads)


def join_local(place: Place, port: int | None, announce: Callable[[int], Any]) -> None:
    """Join processes that our own launcher started on this machine, over loopback only.

    Rank 0 lets the system choose a free port and announces it; the launcher tells the others.
    """
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    timeout = datetime.timedelta(seconds=COLLECTIVE_TIMEOUT_S)
    store = TCPStore("127.0.0.1", port or 0, None, is_master=place.leads, timeout=timeout, wait_for_workers=False)  # type: ignore[call-arg, unused-ignore]
    if place.leads:
        announce(store.port)
    _join(store, place)


def join_launched(launched: Launched, place: Place) -> None:
    """Join processes that torchrun or srun started.

    Each restart of torchrun uses its own keys: with the store of a dead attempt, gloo dials processes that are gone.
    """
    timeout = datetime.timedelta(seconds=COLLECTIVE_TIMEOUT_S)
    try:
        store = TCPStore(
            launched.address,
            launched.port,
            launched.n_processes,
            is_master=place.leads and not launched.agent_holds_store,
            timeout=timeout,
            wait_for_workers=False,
        )
    except (RuntimeError, dist.DistNetworkError) as error:
        raise TrainwrightError(
            f"rank {launched.rank} of {launched.n_processes} cannot reach rank 0 at {launched.address}:"
            f"{launched.port}: {str(error).splitlines()[0]}",
            hint="check MASTER_ADDR and MASTER_PORT, that the port is free, and that no firewall stands between",
        ) from error
    _join(PrefixStore(f"attempt{launched.attempt}", store), place)


def _join(store: Store, place: Place) -> None:
    dist.init_process_group(
        "gloo" if not torch.cuda.is_available() else "cpu:gloo,cuda:nccl",
        store=store,
        rank=place.rank,
        world_size=place.n_processes,
        timeout=datetime.timedelta(seconds=COLLECTIVE_TIMEOUT_S),
    )


def leave() -> None:
    """Take the process group down, when there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
