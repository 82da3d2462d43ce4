"""Write the section on serving of docs/accuracy.md: every source, shipped, blind and calibrated.

python tools/serving_page.py ../shared/measurements/inference_measurements.csv.gz
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from trainwright.cost.serving.calibration import predict
from trainwright.cost.serving.corrections import shipped
from trainwright.cost.serving.validate import Laid, blind_scales, bounds_of, calibrated_scales, lay, score_of

PAGE = Path("docs/accuracy.md")
START, END = "<!-- serving: generated -->", "<!-- serving: end -->"
WAYS = ("shipped", "blind", "calibrated")


def rows_text(laid: Laid, ways: list[Any]) -> list[str]:
    """A row for each source and kind of figure, the largest source first."""
    names = np.array([f"{case.source} | {case.what}" for case in laid.cases])
    sources = Counter(case.source for case in laid.cases)
    full = {str(name): case.is_full for case, name in zip(laid.cases, names, strict=True)}
    lines = []
    for name in sorted(set(names.tolist()), key=lambda name: (-sources[name.split(" | ")[0]], name)):
        rows = np.flatnonzero(names == name)
        cells = [cell(score_of(rows, laid, predicted, bounds_of(laid, predicted))) for predicted in ways]
        lines.append(f"| {name} | {len(rows)} | {'yes' if full[name] else 'no'} | " + " | ".join(cells) + " |")
    return lines


def cell(one: Any) -> str:
    """MAPE, median and bias."""
    return f"{100 * one.mape:.1f}% | {100 * one.median:.1f}% | {100 * one.bias:+.1f}%"


def section(paths: list[Path]) -> str:
    """The whole section."""
    laid = lay(paths)
    blind = blind_scales(laid)
    scales = (shipped().of_all(laid.measured.names), blind, calibrated_scales(laid, blind))
    ways = [predict(laid.measured, each) for each in scales]
    by_source: dict[str, list[int]] = {}
    for index, case in enumerate(laid.cases):
        by_source.setdefault(case.source, []).append(index)
    error = [np.abs(way / laid.measured.seconds - 1.0) for way in ways]
    full = {name: rows for name, rows in by_source.items() if laid.cases[rows[0]].is_full}
    told = [
        f"{name} {np.mean([100 * np.mean(each[rows]) for rows in full.values()]):.1f}%"
        for name, each in zip(WAYS, error, strict=True)
    ]
    within = [name for name, rows in full.items() if np.mean(error[2][rows]) <= 0.2]
    refused = "; ".join(f"{count} {reason}" for reason, count in sorted(laid.refused.items()))
    head = "| source | figure | n | full | " + " | ".join(f"{way} MAPE | median | bias" for way in WAYS) + " |"
    return "\n".join([
        f"{len(laid.cases)} figures of {len(laid.cases) + sum(laid.refused.values())} (a row may hold two); refused: "
        f"{refused}. MAPE, mean over the {len(full)} sources with full configurations: {', '.join(told)}; calibrated, "
        f"{len(within)} of them are at 20 % or better.",
        "",
        head,
        "|---|---|---:|---|" + "---:|" * 9,
        *rows_text(laid, ways),
    ])  # fmt: skip


def main(paths: list[Path]) -> int:
    """Replace what stands between the markers."""
    text = PAGE.read_text()
    before, after = text.split(START)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{START}\n{section(paths)}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
