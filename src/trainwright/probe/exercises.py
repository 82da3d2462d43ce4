"""Small lessons, measured on this machine: order of access, many small ops against one, transfers, loader workers."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.utils.data import DataLoader, Dataset

from trainwright.probe.clock import Clock


def measure_exercises(clock: Clock, device: str) -> dict[str, dict[str, float]]:
    """Seconds of what each lesson compares."""
    lessons = {
        "row order against column order": _order(clock),
        "many small ops against one": _small_ops(clock, device),
        "loader workers": _workers(),
    }
    if device != "cpu":
        lessons["host to device and back"] = _transfers(clock, device)
    return lessons


def _order(clock: Clock) -> dict[str, float]:
    """The same 4096 x 4096 numbers summed row by row, and column by column: same arithmetic, other order."""
    matrix = torch.ones(4096, 4096)
    columns = matrix.t()

    def by(lines: torch.Tensor) -> Callable[[], object]:
        return lambda: [line.sum() for line in lines[:512]]

    return {"512 rows": clock.time(by(matrix)).calm_s, "512 columns": clock.time(by(columns)).calm_s}


def _small_ops(clock: Clock, device: str) -> dict[str, float]:
    """A million additions in one op, and in a thousand."""
    whole = torch.zeros(1_000_000, device=device)
    pieces = whole.split(1000)
    return {
        "1 op": clock.time(lambda: whole.add_(1.0)).calm_s,
        "1000 ops": clock.time(lambda: [piece.add_(1.0) for piece in pieces]).calm_s,
    }


def _transfers(clock: Clock, device: str) -> dict[str, float]:
    """64 MiB to the device from pageable and from pinned memory, and back."""
    pageable = torch.zeros(2**24)
    pinned, there = pageable.pin_memory(), pageable.to(device)
    return {
        "pageable to device": clock.time(lambda: pageable.to(device)).calm_s,
        "pinned to device": clock.time(lambda: pinned.to(device, non_blocking=True)).calm_s,
        "device to host": clock.time(lambda: there.cpu()).calm_s,
    }


N_PICTURES = 64


class _Pictures(Dataset[torch.Tensor]):
    """Made-up pictures, each augmented for about a millisecond."""

    def __len__(self) -> int:
        return N_PICTURES

    def __getitem__(self, index: int) -> torch.Tensor:
        picture = torch.full((3, 96, 96), float(index))
        for _ in range(8):
            picture = (picture.flip(2) * 1.01).sin()
        return picture


def _workers() -> dict[str, float]:
    """One pass over the pictures with 0, 1 and 2 loader processes, start of the processes included; one thread each."""
    seconds = {}
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for n_workers in (0, 1, 2):
        begin = time.perf_counter()
        for _ in DataLoader(_Pictures(), batch_size=16, num_workers=n_workers):
            pass
        seconds[f"{n_workers} workers"] = time.perf_counter() - begin
    torch.set_num_threads(n_threads)
    return seconds
