"""Milliseconds of one estimate, imports done, beside a fixed yardstick of plain Python timed in the same run.

Run it with OMP_NUM_THREADS=1 on a quiet machine: ``python benchmarks/estimate.py [--times N]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

from trainwright.cost.stack import stack
from trainwright.cost.step import estimate_step
from trainwright.hardware.parse import parse_cluster
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.catalogue import model

CASES: dict[tuple[str, str, str], tuple[Workload, Strategy]] = {
    ("gpt3-175b", "128 x 8xA100-SXM-80GB", "megatron-core"): (
        Workload(global_batch=1536, seq=2048),
        Strategy(dp=16, tp=8, pp=8, sequence_parallel=True, recompute="selective"),
    ),
    ("llama-3-8b", "8xH100-SXM", "torchtitan"): (
        Workload(global_batch=16, seq=8192),
        Strategy(dp=8, micro_batch=2, zero_stage=3),
    ),
    ("mixtral-8x7b", "8 x 8xH100-SXM", "megatron-core"): (
        Workload(global_batch=256, seq=4096),
        Strategy(dp=16, tp=4, ep=8, sequence_parallel=True),
    ),
    ("gpt2", "RTX-4090", "trainwright"): (Workload(global_batch=8, seq=1024), Strategy(micro_batch=8)),
}


def yardstick() -> float:
    """20,000 additions, to tell a slow machine from slow code."""
    total = 0.0
    for number in range(20_000):
        total += float(number) * 1.5
    return total


def milliseconds(call: Callable[[], Any], times: int) -> float:
    """The median of so many calls, after one that fills the caches."""
    call()
    found = []
    for _ in range(times):
        began = perf_counter()
        call()
        found.append(perf_counter() - began)
    return 1e3 * median(found)


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=300, help="estimates of each case")
    times = parser.parse_args().times
    for (name, where, software), (work, strategy) in CASES.items():
        asked = model(name), work, strategy, parse_cluster(where), stack(software)
        took = milliseconds(lambda asked=asked: estimate_step(*asked), times)
        print(f"{name:14} {where:24} {took:6.2f} ms    yardstick {milliseconds(yardstick, 30):.2f} ms")


if __name__ == "__main__":
    main()
