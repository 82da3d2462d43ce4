"""Predicted beside measured over the zoo on this CPU: step time and peak memory, at two batch sizes each.

    PYTHONPATH=src:. OMP_NUM_THREADS=1 python benchmarks/zoo.py [NAME...] [--strangers] [--profile FILE] [--no-time]
        [--write]

Predictions: capture on meta, priced by cost.step from the machine's probe (measured now in at most 20 s unless it was).
Measurements: forward, backward, fused AdamW, one process; time is the median of steps, peak that of the CPU allocator.
--write puts the table into docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]
sys.path = [each for each in sys.path if Path(each).absolute() != Path(__file__).parent]

import torch  # noqa: E402
from benchmarks.zoo import STRANGERS, ZOO, Case, Entry  # noqa: E402

from trainwright.capture.inputs import example_of  # noqa: E402
from trainwright.capture.meta import built_on_meta  # noqa: E402
from trainwright.capture.module import Setup, captured  # noqa: E402
from trainwright.capture.step import Optimizers, run_step, trace_step  # noqa: E402
from trainwright.cost.stack import stack  # noqa: E402
from trainwright.cost.step import estimate_step  # noqa: E402
from trainwright.hardware.cluster import Cluster  # noqa: E402
from trainwright.jobs.inputs import parse_input  # noqa: E402
from trainwright.jobs.job import Workload  # noqa: E402
from trainwright.jobs.strategy import Strategy  # noqa: E402

PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"
BEGIN, END = "<!-- zoo: generated -->", "<!-- zoo: end -->"
SECONDS = 1.5
"""How long each model is stepped, at least three times."""


def adamw(parameters: Any) -> torch.optim.Optimizer:
    """What the runtime uses on a CPU."""
    return torch.optim.AdamW(parameters, fused=True)


def predicted(entry: Entry, batch: int, cluster: Cluster | None) -> dict[str, float]:
    """Step seconds and peak bytes by the cost model, and the peak that the trace alone gives."""
    case = entry.timed
    setup = setup_of(case, batch)
    seq = case.seq or 1
    traced = trace_step(built_on_meta(case.build), example_of(setup.inputs, batch, seq), optimizer=adamw, kernels="cpu")
    found = {"traced_peak_bytes": float(traced.peak_bytes)}
    if cluster is not None:
        spec = captured(case.build, setup, entry.name).spec
        workload = Workload(global_batch=batch, seq=seq, clip=False)
        strategy = Strategy(micro_batch=batch, precision="fp32")
        estimate = estimate_step(spec, workload, strategy, cluster, stack("trainwright"))
        found |= {"step_s": float(estimate.step_s), "peak_bytes": float(estimate.peak_bytes)}
        found |= {f"{name}_s": float(value) for name, value in estimate.time.items() if value}
    return found


def setup_of(case: Case, batch: int) -> Setup:
    """How the case is fed."""
    return Setup(inputs=tuple(parse_input(text) for text in case.inputs), batch=batch, seq=case.seq, kernels="cpu")


def measured(entry: Entry, batch: int, with_time: bool) -> dict[str, float]:
    """Median seconds of a step, and the most bytes the allocator held in one."""
    case = entry.timed
    torch.manual_seed(0)
    module = case.build().train()
    example = example_of(setup_of(case, batch).inputs, batch, case.seq or 1, "cpu")
    optimizers = Optimizers(adamw)
    run_step(module, example, optimizers)
    found: dict[str, float] = {}
    if with_time:
        run_step(module, example, optimizers)
        seconds: list[float] = []
        while sum(seconds) < SECONDS or len(seconds) < 3:
            start = time.perf_counter()
            run_step(module, example, optimizers)
            seconds.append(time.perf_counter() - start)
        found = {"step_s": statistics.median(seconds), "fastest_s": min(seconds)}
    return {**found, "peak_bytes": allocator_peak(module, example, optimizers)}


def allocator_peak(module: torch.nn.Module, example: Any, optimizers: Optimizers) -> float:
    """Most bytes alive in one step, with parameters, states and inputs, by the profiler's allocation events."""
    from torch.profiler import ProfilerActivity, profile

    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run_step(module, example, optimizers)
    live = most = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    tensors = [*module.parameters(), *module.buffers(), *example.values(), *optimizers.states()]
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return float(most + sum(storages.values()))


def row(entry: Entry, batch: int, cluster: Cluster | None, with_time: bool) -> dict[str, Any]:
    """One line of the table."""
    return {
        "model": entry.name,
        "batch": batch,
        "predicted": predicted(entry, batch, cluster),
        "measured": measured(entry, batch, with_time),
    }


def line(found: dict[str, Any]) -> str:
    """One line of the table as text."""
    expected, real = found["predicted"], found["measured"]
    text = f"{found['model']:12} {found['batch']:4}"
    if "step_s" in real and "step_s" in expected:
        text += f"  {1e3 * expected['step_s']:8.1f} {1e3 * real['step_s']:8.1f} ms {_off(expected, real, 'step_s'):>7}"
    if "peak_bytes" in expected:
        text += f"  {expected['peak_bytes'] / 2**20:7.1f} {_off(expected, real, 'peak_bytes'):>7}"
    trace = {"peak_bytes": expected["traced_peak_bytes"]}
    return f"{text}  {real['peak_bytes'] / 2**20:7.1f} MiB, traced {_off(trace, real, 'peak_bytes'):>7}"


def _off(expected: dict[str, float], real: dict[str, float], name: str) -> str:
    return f"{100 * (expected[name] / real[name] - 1):+.1f} %"


def summary(rows: list[dict[str, Any]]) -> str:
    """Median and worst absolute errors."""
    parts = []
    for label, key, name in (
        ("step time", "step_s", "step_s"),
        ("peak by the cost model", "peak_bytes", "peak_bytes"),
        ("peak by the trace", "traced_peak_bytes", "peak_bytes"),
    ):
        errors = [
            abs(r["predicted"][key] / r["measured"][name] - 1)
            for r in rows
            if key in r["predicted"] and name in r["measured"]
        ]
        if errors:
            parts.append(f"{label}: median {100 * statistics.median(errors):.1f} %, worst {100 * max(errors):.1f} %")
    return "; ".join(parts)


def page(rows: list[dict[str, Any]], description: str) -> str:
    """The table in Markdown: predicted and measured of every model at both batches."""
    lines = [
        f"{len(rows) // 2} models at two batch sizes, fp32, fused AdamW, one process, {description}:",
        f"{summary(rows)}.",
        "",
        "| model | batch | step predicted | measured | error | peak predicted | measured | error |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for found in rows:
        expected, real = found["predicted"], found["measured"]
        cells = (
            found["model"], found["batch"], f"{1e3 * expected['step_s']:.1f} ms", f"{1e3 * real['step_s']:.1f} ms",
            _off(expected, real, "step_s"), f"{expected['peak_bytes'] / 2**20:.1f} MiB",
            f"{real['peak_bytes'] / 2**20:.1f} MiB", _off(expected, real, "peak_bytes"),
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def write_page(text: str) -> None:
    """Put the table between its marks in docs/accuracy.md."""
    whole = PAGE.read_text(encoding="utf-8")
    begin, end = whole.index(BEGIN) + len(BEGIN), whole.index(END)
    PAGE.write_text(f"{whole[:begin]}\n{text}\n{whole[end:]}", encoding="utf-8")


def main() -> None:
    """Print the table; write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--strangers", action="store_true", help="six models the cost model was not made with")
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--no-time", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    cluster = None
    if not given.no_time:
        from trainwright.hardware.machine import forget, load_machine
        from trainwright.probe.allocator import keep_pages
        from trainwright.probe.machine import this_machine

        profile = forget(load_machine(given.profile) if given.profile else this_machine())
        cluster = profile.division(1)
        keep_pages()
        torch.set_num_threads(cluster.groups[0].device.n_threads)
    rows = []
    for entry in STRANGERS if given.strangers else ZOO:
        for factor in (1, 2):
            if not given.names or entry.name in given.names:
                rows.append(row(entry, factor * entry.timed.batch, cluster, not given.no_time))
                print(line(rows[-1]), flush=True)
    print(summary(rows))
    if given.write and cluster is not None and not given.strangers:
        write_page(page(rows, f"{profile.description}, measured {profile.measured_at[:10]}"))


if __name__ == "__main__":
    main()
