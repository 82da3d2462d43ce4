"""Predicted beside measured on this machine: the built-in example and five variations of it, each run several times.

    PYTHONPATH=src python benchmarks/accuracy.py [CASE...] [--runs 5] [--steps 16] [--results FILE] [--write]

Each run is `trainwright train` on a job file, in a process of its own; the prediction is the plan's, from the probe's
profile alone. Results are added to FILE, so that cases can be run apart. --write puts the table into docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "accuracy.md"
BEGIN, END = "<!-- this machine: generated -->", "<!-- end of this machine -->"
Change = dict[str, int]

CASES: dict[str, tuple[Change, str]] = {
    "example": ({}, "dp=1,tp=1"),
    "twice the width": ({"hidden": 2, "heads": 2, "ffn": 2}, "dp=1,tp=1"),
    "twice the depth": ({"layers": 2}, "dp=1,tp=1"),
    "four times the context": ({"sequence": 4}, "dp=1,tp=1"),
    "two processes, data parallel": ({}, "dp=2,tp=1"),
    "two processes, tensor parallel": ({}, "dp=1,tp=2"),
}
"""What is multiplied in the example's job file, and how the step is divided."""

PARTS = {
    "forward": ("forward",),
    "backward": ("backward", "recompute"),
    "optimizer": ("optimizer",),
    "communication": ("tp_communication", "dp_communication", "tp all_reduce", "dp all_reduce", "agreement"),
}
"""Parts of the table, and what they hold; the head's and the host's seconds go to forward and backward."""


def job_text(change: Change, steps: int) -> str:
    """The example's job file with some numbers multiplied, short and without evaluation or checkpoints on the way."""
    text = (ROOT / "src/trainwright/jobs/data/example.toml").read_text(encoding="utf-8")
    for key, factor in change.items():
        text = re.sub(rf"^{key} = (\d+)", lambda m, f=factor, k=key: f"{k} = {int(m[1]) * f}", text, flags=re.M)
    for key in ("steps", "evaluate_every", "checkpoint_every"):
        text = re.sub(rf"^{key} = \d+", f"{key} = {steps}", text, flags=re.M)
    return text


def run(name: str, steps: int) -> dict[str, Any]:
    """One run: what was predicted and what was measured."""
    change, pins = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.toml"
        job.write_text(job_text(change, steps), encoding="utf-8")
        command = [sys.executable, "-m", "trainwright", "train", str(job), "--output", f"{folder}/runs"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        subprocess.run([*command, "--strategy", pins], check=True, env=environment, stdout=subprocess.DEVNULL)
        (found,) = Path(folder).glob("runs/*/run.json")
        plan = json.loads(found.with_name("plan.json").read_text(encoding="utf-8"))
        done = json.loads(found.read_text(encoding="utf-8"))
    chosen = plan["chosen"]
    kept = ("step_s", "peak_bytes", "resident_bytes", "time")
    return {
        "case": name,
        "label": chosen["label"],
        "predicted": {key: chosen[key] for key in kept},
        "measured": {key: done[key] for key in kept},
    }


def table(results: list[dict[str, Any]]) -> str:
    """The table in Markdown: the median of the runs of each case."""
    lines = [
        "| case | plan | runs | step measured | predicted | error | peak measured | error | resident set | error |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in CASES:
        runs = [result for result in results if result["case"] == name]
        if not runs:
            continue
        step, predicted = _median(runs, "measured", "step_s"), _median(runs, "predicted", "step_s")
        peak, peak_said = _median(runs, "measured", "peak_bytes"), _median(runs, "predicted", "peak_bytes")
        resident = statistics.median(max(r["measured"]["resident_bytes"]) for r in runs)
        resident_said = _median(runs, "predicted", "resident_bytes")
        cells = (
            name, runs[-1]["label"], len(runs), f"{1e3 * step:.0f} ms", f"{1e3 * predicted:.0f} ms",
            f"{predicted / step - 1:+.1%}", f"{peak / 2**20:.1f} MiB", f"{peak_said / peak - 1:+.1%}",
            f"{resident / 2**20:.0f} MiB", f"{resident_said / resident - 1:+.1%}",
        )  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join([*lines, "", *_parts(results)])


def _parts(results: list[dict[str, Any]]) -> list[str]:
    lines = ["Predicted / measured milliseconds by part; head, loss and dispatch are shared out, 1 : 2:"]
    lines += ["", "| case | " + " | ".join(PARTS) + " |", "|---|" + "--:|" * len(PARTS)]
    for name in CASES:
        runs = [result for result in results if result["case"] == name]
        if runs:
            cells = (f"{1e3 * _predicted(runs, part):.0f} / {1e3 * _measured(runs, part):.0f}" for part in PARTS)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _predicted(runs: list[dict[str, Any]], part: str) -> float:
    shared = {"forward": 1 / 3, "backward": 2 / 3}.get(part, 0.0)
    return statistics.median(
        sum(run["predicted"]["time"].get(name, 0.0) for name in PARTS[part])
        + shared * (run["predicted"]["time"]["head_loss"] + run["predicted"]["time"]["dispatch"])
        for run in runs
    )


def _measured(runs: list[dict[str, Any]], part: str) -> float:
    return statistics.median(sum(run["measured"]["time"].get(name, 0.0) for name in PARTS[part]) for run in runs)


def _median(runs: list[dict[str, Any]], side: str, key: str) -> float:
    return statistics.median(float(run[side][key]) for run in runs)


def write_page(text: str) -> None:
    """Put the table between its marks in docs/accuracy.md, at the end if they are not there yet."""
    page = PAGE.read_text(encoding="utf-8")
    section = f"{BEGIN}\n{text}\n{END}"
    if BEGIN in page:
        page = page[: page.index(BEGIN)] + section + page[page.index(END) + len(END) :]
    else:
        page = f"{page.rstrip()}\n\n{section}\n"
    PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    """Run, add to the results, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--results", type=Path, default=Path("accuracy.jsonl"))
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    for _ in range(asked.runs):
        for name in asked.cases or CASES:
            with asked.results.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(run(name, asked.steps)) + "\n")
    results = [json.loads(line) for line in asked.results.read_text(encoding="utf-8").splitlines()]
    print(table(results))
    if asked.write:
        write_page(table(results))


if __name__ == "__main__":
    main()
