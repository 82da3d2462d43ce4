"""Where one process of a run stands, and how it joins the others."""

from __future__ import annotations

import datetime
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from trainwright.env import Launched
from trainwright.errors import InvalidInputError
from trainwright.runtime.device import backend_of, device_of

COLLECTIVE_TIMEOUT_S = 900.0
"""A collective that waits longer than this for another rank fails, and the run with it."""

CONNECT_S = 120.0
"""How long a process tries to reach process 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """This process among ``n_processes``."""

    rank: int = 0
    n_processes: int = 1
    local_rank: int = 0
    n_threads: int = 1
    device_type: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes records and talks."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        kind = self.device_type
        return torch.device(kind, self.local_rank) if kind == "cuda" else torch.device(kind)


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
    join(store, place)


def connect(launched: Launched, place: Place) -> Any:
    """The store through which processes that torchrun or srun started find each other.

    A store that outlives an attempt (torchrun's own) gets keys of its own for each: with those of a dead attempt, gloo
    dials processes that are gone. Raises InvalidInputError when process 0 cannot be reached, or its port is taken.
    """
    if not launched.port:
        raise InvalidInputError(
            "the launcher gives port 0, where nobody can be reached",
            hint="give torchrun --standalone (one machine), --rdzv-backend c10d, or --master-port with a free port",
        )
    hosts = place.leads and not launched.agent_holds_store
    at = f"{launched.address}:{launched.port}"
    try:
        store = _opened(launched, hosts=hosts)
    except (RuntimeError, dist.DistNetworkError) as error:
        if hosts and "EADDRINUSE" in str(error):
            raise InvalidInputError(
                f"port {launched.port} of {launched.address} is in use", hint="set MASTER_PORT to a free one"
            ) from error
        raise InvalidInputError(
            f"process {launched.rank} of {launched.n_processes} cannot reach process 0 at {at}: "
            f"{str(error).splitlines()[0]}",
            hint="check MASTER_ADDR and MASTER_PORT, that process 0 runs, and that no firewall stands between",
        ) from error
    store.set_timeout(datetime.timedelta(seconds=COLLECTIVE_TIMEOUT_S))
    return PrefixStore(f"attempt{launched.attempt}", store) if launched.agent_holds_store else store


def _opened(launched: Launched, *, hosts: bool) -> Any:
    """The store, or RuntimeError after CONNECT_S: torch's own limit counts each try, and no mute listener at all."""
    found: Future[Any] = Future()

    def open_it() -> None:
        try:
            found.set_result(
                TCPStore(
                    launched.address,
                    launched.port,
                    launched.n_processes,
                    is_master=hosts,
                    timeout=datetime.timedelta(seconds=CONNECT_S),
                    wait_for_workers=False,
                )
            )
        except (RuntimeError, ValueError) as error:
            found.set_exception(error)

    threading.Thread(target=open_it, daemon=True).start()
    try:
        return found.result(timeout=CONNECT_S)
    except FutureTimeoutError:
        raise RuntimeError(f"no answer within {CONNECT_S:.0f} s") from None


def join(store: Store, place: Place) -> None:
    """Take this process's device and make the process group of the run."""
    device = device_of(place.device_type, place.local_rank)
    dist.init_process_group(
        backend_of(device.type),
        store=store,
        rank=place.rank,
        world_size=place.n_processes,
        timeout=datetime.timedelta(seconds=COLLECTIVE_TIMEOUT_S),
        device_id=device if device.type == "cuda" else None,
    )


def leave() -> None:
    """Take the process group down, when there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
