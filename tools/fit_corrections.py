"""Rebuild cost/data/corrections.toml and intervals.toml from tables of published measurements.

    python tools/fit_corrections.py ../shared/measurements/train_measurements.csv.gz

Every scale is a constant of all software, of one stack, of one device, or of one stack on one architecture; the count
behind it says how many rows it rests on. Intervals come from residuals of sources left out of the fit.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from trainwright.cost.calibration import KINDS, LEVELS, fit, predict
from trainwright.cost.interval import PROBED, regime, residual_bounds
from trainwright.cost.memory import peak_bytes
from trainwright.cost.memory_rules import memory_rules, occupied_bytes
from trainwright.cost.published.case import Case
from trainwright.cost.validate import blind_scales, calibrated_scales, measure, read_cases

DATA = Path("src/trainwright/cost/data")
TELLING = (
    "megatron-2021",
    "megatron-2022",
    "megatron-deepspeed",
    "megatron-core",
    "zero-bubble",
    "eager-2020",
    "kempnerforge",
)
"""Stacks whose published peaks come with all that memory depends on; elsewhere optimizers and casts are not said."""

MEMORY_HERE = 0.03
"""Worst miss of the runtime's own peaks on a probed machine (docs/accuracy.md, Memory)."""

SOURCE = "fitted by tools/fit_corrections.py on published steps (docs/accuracy.md)"


def table(name: str, logs: Any, rows: int) -> str:
    """One TOML table: the scales that differ from 1 by more than 1 %, and how many rows are behind them."""
    lines = [f'[{name}]\nsource = "{SOURCE}"\nrows = {rows}']
    lines += [f"{kind} = {np.exp(v):.3f}" for kind, v in zip(KINDS, logs, strict=True) if abs(v) > 0.01]
    return "\n".join(lines)


def intervals(cases: list[Case], residuals: Any, what: str) -> list[str]:
    """Quantiles of the residuals by regime, each source weighing the same; ``unknown`` regimes take all rows."""
    counts = Counter(case.source for case in cases)
    weights = np.array([1.0 / counts[case.source] for case in cases])
    blocks = []
    for known in (True, False):
        names = np.array([regime(case.kind, case.cluster.n_devices, known=known) for case in cases])
        for name in sorted(set(names.tolist())):
            here = names == name
            low, high = residual_bounds(residuals[here], weights[here], 0.8 if known else 0.9)
            blocks.append(f'[{what}."{name}"]\nlow = {low:.3f}\nhigh = {high:.3f}\nrows = {int(here.sum())}')
    return blocks


def memory_intervals(cases: list[Case]) -> list[str]:
    """Quantiles for memory, from dense steps whose tables tell what is kept; tight where a probe measured."""
    weighed = [c for c in cases if c.peak_bytes is not None and c.kind == "dense" and c.stack.name in TELLING]
    peaks = []
    for case in weighed:
        rules = memory_rules(case.stack.name)
        allocated = np.max(peak_bytes(case.model, case.workload, case.strategy, rules))
        peaks.append(occupied_bytes(float(allocated), 1.0, rules))
    found = np.log(np.array([case.peak_bytes for case in weighed]) / np.array(peaks))
    here = f'[memory."{PROBED}"]\nlow = {-MEMORY_HERE}\nhigh = {MEMORY_HERE}\nsource = "docs/accuracy.md, Memory"'
    return [*intervals(weighed, found, "memory"), here]


def calibrated_interval(cases: list[Case], residuals: Any) -> list[str]:
    """What is left where a machine's own constants were measured, as a probe does for this one."""
    here = np.array([case.kind == "dense" and case.cluster.n_devices <= 8 for case in cases])
    counts = Counter(case.source for case in cases)
    weights = np.array([1.0 / counts[case.source] for case in cases])
    low, high = residual_bounds(residuals[here], weights[here])
    return [f'[time."{PROBED}"]\nlow = {low:.3f}\nhigh = {high:.3f}\nrows = {int(here.sum())}']


def main(paths: list[Path]) -> int:
    """Fit, then write both files."""
    cases, _ = read_cases(paths)
    timed = [case for case in cases if case.step_s is not None]
    measured = measure(timed)
    everything = fit(measured, n_rounds=24)
    blocks = [table("everywhere", everything.everywhere, len(timed))]
    for level, logs_by_name, names in zip(LEVELS, everything.by_level, measured.names, strict=True):
        rows = Counter(names)
        blocks += [table(f'{level}."{name}"', logs, rows[name]) for name, logs in logs_by_name.items()]
    head = "# By what the ingredients of a step are multiplied. Rebuilt by tools/fit_corrections.py; do not edit.\n\n"
    (DATA / "corrections.toml").write_text(head + "\n\n".join(blocks) + "\n")
    sources = np.array([case.source for case in timed])
    scales = blind_scales(measured, sources, everything)
    blind = np.log(measured.seconds / predict(measured.parts, scales))
    spans = intervals(timed, blind, "time")
    own = calibrated_scales(measured, timed, scales)
    spans += calibrated_interval(timed, np.log(measured.seconds / predict(measured.parts, own)))
    spans += memory_intervals(cases)
    head = "# Quantiles of log(measured / predicted) by regime. Rebuilt by tools/fit_corrections.py; do not edit.\n\n"
    (DATA / "intervals.toml").write_text(head + "\n\n".join(spans) + "\n")
    print(f"{len(timed)} steps, {len(set(sources.tolist()))} sources; blind median {np.median(np.abs(blind)):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
