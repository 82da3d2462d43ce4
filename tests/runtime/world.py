"""Processes forked from this one and joined: torch and the models are imported once, and not again in each."""

from __future__ import annotations

import multiprocessing
import os
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from trainwright.runtime.place import Place, join_local, use_threads

PATIENCE_S = 600.0
"""How long a world may be silent before it is taken for hung."""


def in_world(n_processes: int, work: Callable[[Place], Any]) -> Any:
    """Do ``work`` in so many processes that have joined each other; what rank 0 returned. One failure ends all."""
    fork = multiprocessing.get_context("fork")
    ports = fork.SimpleQueue()
    ears, members = [], []
    for rank in range(n_processes):
        ear, mouth = fork.Pipe(duplex=False)
        place = Place(rank=rank, n_processes=n_processes, local_rank=rank)
        members.append(fork.Process(target=_live, args=(place, ports, mouth, work)))
        members[-1].start()
        mouth.close()
        ears.append(ear)
    try:
        return _hear(ears)
    finally:
        for member in members:
            member.kill()
            member.join()


def _hear(ears: list[Connection]) -> Any:
    results: dict[Connection, Any] = {}
    while len(results) < len(ears):
        ready = wait([ear for ear in ears if ear not in results], timeout=PATIENCE_S)
        assert ready, "the processes hang"
        for ear in ready:
            assert isinstance(ear, Connection)
            kind, results[ear] = ear.recv()
            assert kind == "done", f"process {ears.index(ear)} failed:\n{results[ear]}"
    return results[ears[0]]


def _live(place: Place, ports: Any, mouth: Connection, work: Callable[[Place], Any]) -> None:
    def announce(port: int) -> None:
        for _ in range(place.n_processes - 1):
            ports.put(port)

    warnings.resetwarnings()
    warnings.simplefilter("ignore")  # a worker's warnings go to its log, not to pytest
    try:
        use_threads(1)
        join_local(place, None if place.leads else ports.get(), announce)
        mouth.send(("done", work(place)))
    except BaseException:  # noqa: BLE001 the edge of the process
        mouth.send(("failed", traceback.format_exc()))
    os._exit(0)  # an interpreter with gloo threads may hang or abort when it is taken down
