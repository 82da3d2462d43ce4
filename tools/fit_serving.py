"""Fit data/serving_corrections.toml to published serving measurements.

python tools/fit_serving.py ../shared/measurements/inference_measurements.csv.gz

A constant belongs to everything, an engine (with or without weights that are unpacked), a device, or an engine on an
architecture; nothing is fitted to a row or a source. The interval is of residuals with each source left out in turn.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from trainwright.cost.interval import residual_bounds
from trainwright.cost.serving.calibration import KINDS, fit, predict
from trainwright.cost.serving.corrections import LEVELS
from trainwright.cost.serving.validate import Laid, blind_scales, lay

TARGET = Path("src/trainwright/cost/data/serving_corrections.toml")
HEAD = """# What each kind of seconds of a serving pass is multiplied by: everything, an engine, a device, an engine on
# an architecture. Written by tools/fit_serving.py from published measurements; 1 where nothing is said.
"""


def interval(laid: Laid) -> tuple[float, float]:
    """Factors of the 80 % interval, from residuals of sources that took no part."""
    residuals = np.log(laid.measured.seconds / predict(laid.measured, blind_scales(laid)))
    low, high = residual_bounds(residuals, laid.measured.weights)
    return float(np.exp(low)), float(np.exp(high))


def row_text(logs: Any) -> str:
    """A table of the scales that differ from 1."""
    shown = {kind: float(np.exp(value)) for kind, value in zip(KINDS, logs, strict=True)}
    cells = (f"{kind} = {value:.3f}" for kind, value in shown.items() if abs(value - 1.0) >= 5e-4)
    return "{ " + ", ".join(cells) + " }"


def main(paths: list[Path]) -> int:
    """Fit and write."""
    laid = lay(paths)
    found = fit(laid.measured)
    low, high = interval(laid)
    lines = [HEAD, "[interval]", f"time = [{low:.3f}, {high:.3f}]"]
    for level, rows in zip(LEVELS, found.levels, strict=True):
        lines += ["", f"[{level}]", *(f'"{name}" = {row_text(logs)}' for name, logs in sorted(rows.items()))]
    TARGET.write_text("\n".join(lines) + "\n")
    errors = np.abs(predict(laid.measured, found.of_all(laid.measured.names)) / laid.measured.seconds - 1.0)
    print(f"{len(laid.cases)} figures, median error {100 * np.median(errors):.1f} %, interval {low:.2f} to {high:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
