"""Candidates per second of the search, and the size of the space: GPT-3 175B on 4,096 A100s, one core.

Run it with OMP_NUM_THREADS=1 on a quiet machine: ``python benchmarks/search.py [--model NAME] [--nodes N]``.
"""

from __future__ import annotations

import argparse
import resource
from time import perf_counter

START = perf_counter()


def main() -> None:
    """Search once, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gpt3-175b")
    parser.add_argument("--cluster", default="512 x 8xA100-SXM-80GB")
    parser.add_argument("--batch", type=int, default=1536)
    parser.add_argument("--seq", type=int, default=2048)
    parser.add_argument("--stack", default="megatron-core")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    arguments = parser.parse_args()

    from trainwright.cost.stack import stack
    from trainwright.hardware.parse import parse_cluster
    from trainwright.jobs.job import Workload
    from trainwright.models.catalogue import model
    from trainwright.plan.choice import describe
    from trainwright.plan.search import search

    spec, cluster = model(arguments.model), parse_cluster(arguments.cluster)
    workload = Workload(global_batch=arguments.batch, seq=arguments.seq)
    if arguments.profile:
        import cProfile
        import pstats

        profile = cProfile.Profile()
        profile.enable()
    result = search(spec, workload, [cluster], stack(arguments.stack))
    if arguments.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    assert result.best is not None
    mebibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{spec.name} on {cluster.n_devices} x {cluster.groups[0].device.name}")
    print(f"space                {result.n_costed:>12,} candidates; {result.n_timed:,} fit and were timed")
    print(f"search               {result.seconds:>12.2f} s, {result.n_costed / result.seconds:,.0f} candidates/s")
    print(f"with imports         {perf_counter() - START:>12.2f} s")
    print(f"most memory          {mebibytes:>12.0f} MiB")
    print(f"best                 {describe(result.best.strategy)}: {result.best.step_s:.2f} s a step")
    for text in result.left_out:
        print(f"not looked at        {text}")


if __name__ == "__main__":
    main()
