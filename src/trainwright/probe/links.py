"""Collectives between the processes of this machine: seconds by kind and size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from trainwright.probe.samples import LinkSample

COMPUTE_SIDE = 512
"""A product of this side runs before each collective: some 2.5 ms on a core, as between two collectives of a layer. The
longer processes compute, the longer the first waits for the last: 0.8 MB between two, 1.7 ms after 1 ms of work, 2.6 to
3.3 after 4 to 6."""

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "p2p")


def measure_links(device: str, sizes: tuple[int, ...], deadline_s: float) -> list[LinkSample]:
    """Every kind by every size, the small sizes first; every process stops at the same measurement.

    Past the deadline only the two smallest sizes are still measured, without which there is no line to fit.
    """
    samples: list[LinkSample] = []
    start = time.perf_counter()
    for size in sizes:
        for kind in KINDS:
            spent = torch.tensor([time.perf_counter() - start], device=device)
            dist.all_reduce(spent, op=dist.ReduceOp.MAX)
            if float(spent) < deadline_s or size in sizes[:2]:
                samples.append(_measure(device, kind, size))
    return samples


def _measure(device: str, kind: str, message_bytes: int) -> LinkSample:
    """The mean over many, each after a piece of work, because a step sums many.

    On a machine whose cores the processes fill, a collective waits for the other process's turn as often as not: its
    times have two humps, and the least or the median of back-to-back calls says nothing of what a step pays.
    """
    work = _work(device, kind, message_bytes)
    square = torch.ones(COMPUTE_SIDE, COMPUTE_SIDE, device=device)
    work()
    readings = []
    for _ in range(24 if message_bytes <= 2**20 else 8):
        square @ square
        if device != "cpu":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        readings.append(time.perf_counter() - begin)
    slowest = torch.tensor([min(readings), statistics.fmean(readings)], dtype=torch.float64, device=device)
    dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
    return LinkSample(
        kind=kind,
        n_ranks=dist.get_world_size(),
        message_bytes=float(message_bytes),
        least_s=float(slowest[0]),
        mean_s=float(slowest[1]),
    )


def _work(device: str, kind: str, message_bytes: int) -> Callable[[], object]:
    n_ranks = dist.get_world_size()
    whole = torch.zeros(message_bytes // 4 // n_ranks * n_ranks, device=device)
    part = torch.zeros(whole.numel() // n_ranks, device=device)
    if kind == "all_reduce":
        return lambda: dist.all_reduce(whole)
    if kind == "all_gather":
        return lambda: dist.all_gather_into_tensor(whole, part)
    if kind == "reduce_scatter":
        return lambda: dist.reduce_scatter_tensor(part, whole)
    if kind == "broadcast":
        return lambda: dist.broadcast(whole, 0)
    return lambda: _one_way(whole)


def _one_way(message: torch.Tensor) -> None:
    """Rank 0 sends to rank 1, where this returns when the message is there; the others pass."""
    if dist.get_rank() == 0:
        dist.send(message, 1)
    elif dist.get_rank() == 1:
        dist.recv(message, 0)
