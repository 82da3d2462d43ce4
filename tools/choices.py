"""Write the section on the planner's choices of docs/accuracy.md: what they lose where strategies were measured.

python tools/choices.py ../shared/measurements/train_measurements.csv.gz
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainwright.cost.calibration import predict
from trainwright.cost.validate import blind_scales, calibrated_scales, measure, read_cases
from trainwright.plan.judge import Judged, judge

PAGE = Path("docs/accuracy.md")
START, END = "<!-- choices: generated -->", "<!-- choices: end -->"
SMALL = 4
"""Sources with fewer groups are told together."""


def cells(judged: Sequence[Judged]) -> str:
    """Median and mean loss, and the share of groups that lose at most 2 %."""
    loss = np.array([one.loss for one in judged])
    return f"{100 * np.median(loss):.1f}% | {100 * np.mean(loss):.1f}% | {100 * np.mean(loss <= 0.02):.0f}%"


def section(paths: list[Path]) -> str:
    """The whole section."""
    cases = [case for case in read_cases(paths)[0] if case.step_s is not None]
    measured = measure(cases)
    blind = blind_scales(measured, np.array([case.source for case in cases]))
    own = calibrated_scales(measured, cases, blind)
    ways = [judge(cases, predict(measured.parts, scales).tolist()) for scales in (own, blind)]
    any_fits = [judge(cases, predict(measured.parts, scales).tolist(), -np.inf) for scales in (own, blind)]
    sources = Counter(one.source for one in ways[0])
    lines = [
        "| groups of | groups | strategies | calibrated: median loss | mean | at most 2% | blind: median loss | mean "
        "| at most 2% |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    named = [name for name, count in sources.most_common() if count >= SMALL]
    rows = [("all sources", set(sources)), *((name, {name}) for name in named)]
    rows.append(("the other sources", set(sources) - set(named)))
    for name, wanted in rows:
        picked = [[one for one in way if one.source in wanted] for way in ways]
        if picked[0]:
            n = sum(one.n_strategies for one in picked[0])
            lines.append(f"| {name} | {len(picked[0])} | {n} | " + " | ".join(cells(one) for one in picked) + " |")
    told = " | ".join(cells(one) for one in any_fits)
    n = sum(one.n_strategies for one in any_fits[0])
    lines.append(f"| all sources, by time alone | {len(any_fits[0])} | {n} | {told} |")
    return "\n".join(lines)


def main(paths: list[Path]) -> int:
    """Replace what stands between the markers."""
    text = PAGE.read_text()
    before, after = text.split(START)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{START}\n{section(paths)}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
