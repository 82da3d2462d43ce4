"""The staircase from the first cache to memory: what a dependent read waits, by working set."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainwright.probe.samples import CacheSample

WORKING_SETS = tuple(2**power for power in range(13, 28))
"""8 KiB to 128 MiB."""
LINE_BYTES = 64
_CHASE = """
long chase(const long *next, long start, long hops) {
    long at = start;
    for (long i = 0; i < hops; i++) at = next[at];
    return at;
}
"""


def measure_caches() -> tuple[CacheSample, ...]:
    """The staircase; empty where no C compiler is at hand, since an interpreter is slower than the caches."""
    chase = _compiled()
    return () if chase is None else tuple(_sample(chase, size) for size in WORKING_SETS)


def _sample(chase: Callable[[NDArray[np.int64], int], None], size: int) -> CacheSample:
    ring = _ring(size)
    hops = 200_000 if size > 2**22 else 400_000
    chase(ring, min(hops, size // LINE_BYTES * 2))
    waits = []
    for _ in range(3):
        begin = time.perf_counter()
        chase(ring, hops)
        waits.append((time.perf_counter() - begin) / hops)
    block = torch.ones(size // 4)
    passes = max(1, 2**25 // size)
    block.sum()
    reads = []
    for _ in range(3):
        begin = time.perf_counter()
        for _ in range(passes):
            block.sum()
        reads.append(passes * size / (time.perf_counter() - begin))
    return CacheSample(working_set_bytes=float(size), latency_s=min(waits), bytes_per_s=max(reads))


def _ring(size: int) -> NDArray[np.int64]:
    """One random cycle through every cache line of the working set, so that no prefetcher can guess the next."""
    step = LINE_BYTES // 8
    order = np.random.default_rng(0).permutation(size // LINE_BYTES) * step
    following = np.zeros(size // 8, dtype=np.int64)
    following[order] = np.roll(order, -1)
    return following


def _compiled() -> Callable[[NDArray[np.int64], int], None] | None:
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "chase.c", Path(folder) / "chase.so"
        source.write_text(_CHASE, encoding="utf-8")
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        function = ctypes.CDLL(str(library)).chase
    function.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    function.restype = ctypes.c_long

    def chase(following: NDArray[np.int64], hops: int) -> None:
        function(following.ctypes.data, 0, hops)

    return chase
