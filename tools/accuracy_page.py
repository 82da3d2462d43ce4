"""Write the sections on whole steps and on published memory of docs/accuracy.md: every source, blind and calibrated.

python tools/accuracy_page.py ../shared/measurements/train_measurements.csv.gz
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from trainwright.cost.calibration import predict
from trainwright.cost.published.case import Case
from trainwright.cost.score import Score, score
from trainwright.cost.validate import blind_scales, bounds_of, calibrated_scales, measure, read_cases
from trainwright.cost.validate_memory import Fits, validate_memory

PAGE = Path("docs/accuracy.md")
STEPS = ("<!-- steps: generated -->", "<!-- steps: end -->")
MEMORY = ("<!-- published memory: generated -->", "<!-- published memory: end -->")
Bounds = tuple[Any, Any]
TARGETS = (
    ("BigScience BLOOM-176B tune", 7, 12), ("mosaicml llm-foundry", 7, 12), ("torchtitan benchmarks", 7, 12),
    ("Modalities scaling", 7, 12), ("Zero Bubble", 7, 12), ("Vocabulary Parallelism", 7, 12),
    ("NVIDIA NeMo", 8, 13), ("NVIDIA Megatron-Bridge", 8, 13), ("NVIDIA DGX Cloud", 8, 13), ("MLPerf", 8, 13),
    ("MaxText", 10, 18), ("Google tpu-recipes", 10, 18), ("optimum-habana", 10, 18), ("Intel Gaudi", 10, 18),
    ("Ascend", 10, 18), ("AMD Primus", 10, 18), ("ORNL Frontier", 10, 18), ("AWS", 10, 18),
)  # fmt: skip
"""How the names of sources begin, and the median error that is aimed at in percent, calibrated and blind."""


def scored(rows: Any, cases: list[Case], predicted: Any, bounds: Bounds) -> Score:
    """The score of these rows."""
    measured = np.array([cases[i].step_s for i in rows])
    return score(predicted[rows], measured, [cases[i].group for i in rows], (bounds[0][rows], bounds[1][rows]))


def cells(one: Score) -> str:
    """Median, MAPE and bias."""
    return f"{100 * one.median:.1f}% | {100 * one.mape:.1f}% | {100 * one.bias:+.1f}%"


def picked(name: str, rows: Any, cases: list[Case], ways: list[tuple[Any, Bounds]]) -> str:
    """A row of the table of targets."""
    blind, own = (scored(rows, cases, predicted, bounds) for predicted, bounds in ways)

    def told(one: Score) -> str:
        ranked = (
            "" if one.ranking is None else f", ranked {100 * one.ranking:.0f}%, regret {100 * (one.regret or 0):.1f}%"
        )
        return f"{100 * one.mape:.1f}% (median {100 * one.median:.1f}%, worst {100 * one.worst:.0f}%{ranked})"

    return f"| {name} | {len(rows)} | {told(own)} | {told(blind)} |"


def aims(names: Any, blind: Any, own: Any, seconds: Any) -> list[str]:
    """The table of sources that have a target of their own, and how many meet it."""
    lines, met = [], [0, 0]
    for start, *most in TARGETS:
        for name in sorted({name for name in names.tolist() if name.startswith(start)}):
            here = names == name
            found = [100 * float(np.median(np.abs(p[here] / seconds[here] - 1.0))) for p in (own, blind)]
            told = [f"{f:.1f}%" + ("" if f <= m else f" (missed, {m}%)") for f, m in zip(found, most, strict=True)]
            met = [n + (f <= m) for n, f, m in zip(met, found, most, strict=True)]
            lines.append(f"| {name} | {int(here.sum())} | {told[0]} | {told[1]} |")
    head = f"Sources with a target of their own, {len(lines)} in all: {met[0]} meet it calibrated, {met[1]} blind."
    return [head, "", "| source | rows | calibrated median | blind median |", "|---|---:|---|---|", *lines]


def medians(names: Any, chosen: Any, predicted: Any, seconds: Any) -> float:
    """Median over sources of the median error of the chosen rows."""
    error = np.abs(predicted / seconds - 1.0)
    return float(np.median([np.median(error[chosen & (names == name)]) for name in sorted(set(names[chosen]))]))


def memory_section(cases: list[Case]) -> str:
    """Peaks of memory, and what ran or did not, source by source."""
    found = validate_memory(cases, [case.source for case in cases])
    overall, fits = found.overall, found.all_fits
    assert overall is not None
    lines = [
        f"{overall.n_rows} peaks: MAPE {100 * overall.mape:.1f}%, median {100 * overall.median:.1f}%, median over "
        f"sources of the median {100 * (found.median_of_medians or 0):.1f}%. Of {fits.ran} runs that state their "
        f"recomputation and sharding {fits.ran_right} were predicted to fit, of {fits.failed} that ran out of memory "
        f"{fits.failed_right} not to: {100 * (fits.right_share or 0):.1f}% right.",
        "",
        "| source | peaks | MAPE | median | bias | worst | ran | ran out | right |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    peaks = {name: one.n_rows for name, one in found.groups.items()}
    for name in sorted({*found.groups, *found.fits}, key=lambda name: (-peaks.get(name, 0), name)):
        one, told = found.groups.get(name), found.fits.get(name, Fits())
        figures = "| | |"
        if one:
            figures = (
                f"{100 * one.mape:.1f}% | {100 * one.median:.1f}% | {100 * one.bias:+.1f}% | {100 * one.worst:.0f}%"
            )
        share = "" if told.right_share is None else f"{100 * told.right_share:.0f}%"
        lines.append(
            f"| {name} | {peaks.get(name, '')} | {figures} | {told.ran or ''} | {told.failed or ''} | {share} |"
        )
    return "\n".join(lines)


def section(cases: list[Case], refused: Counter[str]) -> str:
    """Whole steps."""
    timed = [case for case in cases if case.step_s is not None]
    measured = measure(timed)
    names = np.array([case.source for case in timed])
    blind = blind_scales(measured, names)
    own = calibrated_scales(measured, timed, blind)
    ways = []
    for scales in (blind, own):
        predicted = predict(measured.parts, scales)
        ways.append((predicted, bounds_of(timed, predicted, measured.seconds)))
    n = np.array([case.cluster.n_devices for case in timed])
    dense = np.array([case.kind == "dense" for case in timed])
    vtrain, korthikanti, megatron = (
        np.char.startswith(names, start) for start in ("vTrain", "Korthikanti", "Megatron-LM")
    )
    total = len(cases) + sum(refused.values())
    lines = [
        f"{len(timed)} steps of {total} rows; refused {sum(refused.values())} "
        f"({100 * sum(refused.values()) / total:.1f}%): "
        + "; ".join(f"{count} {reason}" for reason, count in sorted(refused.items())),
        "",
        "| rows | n | calibrated MAPE | blind MAPE |",
        "|---|---:|---|---|",
        picked("vTrain A100, more than 8 devices", np.flatnonzero(vtrain & (n > 8)), timed, ways),
        picked("vTrain A100, up to 8 devices", np.flatnonzero(vtrain & (n <= 8)), timed, ways),
        picked("Korthikanti et al., table 5", np.flatnonzero(korthikanti), timed, ways),
        picked("Megatron-LM SC21 and README tables", np.flatnonzero(megatron), timed, ways),
        picked("all dense rows", np.flatnonzero(dense), timed, ways),
        picked("all rows", np.arange(len(timed)), timed, ways),
        "",
    ]
    figures = [100 * medians(names, dense, way[0], measured.seconds) for way in ways]
    held = [np.mean([np.mean(_inside(way, measured.seconds)[names == name]) for name in set(names)]) for way in ways]
    lines += [
        f"Dense sources, median over sources of the median: calibrated {figures[1]:.1f}%, blind {figures[0]:.1f}% "
        f"(targets 7% and 12%). The 80% interval holds, mean over sources: calibrated {100 * held[1]:.0f}%, "
        f"blind {100 * held[0]:.0f}%.",
        "",
        *aims(names, ways[0][0], ways[1][0], measured.seconds),
        "",
        "| source | rows | blind median | MAPE | bias | calibrated median | MAPE | bias |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, count in Counter(names.tolist()).most_common():
        rows = np.flatnonzero(names == name)
        lines.append(f"| {name} | {count} | " + " | ".join(cells(scored(rows, timed, *way)) for way in ways) + " |")
    return "\n".join(lines)


def _inside(way: tuple[Any, Bounds], seconds: Any) -> Any:
    return (way[1][0] <= seconds) & (seconds <= way[1][1])


def main(paths: list[Path]) -> int:
    """Replace what stands between the markers."""
    cases, refused = read_cases(paths)
    text = PAGE.read_text()
    for (start, end), written in ((STEPS, section(cases, refused)), (MEMORY, memory_section(cases))):
        before, after = text.split(start)[0], text.split(end)[1]
        text = f"{before}{start}\n{written}\n{end}{after}"
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
