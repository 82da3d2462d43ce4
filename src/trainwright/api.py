"""The library in one place: what the command line calls, and what Python users import.

Heavy rooms are imported where they are used, so that ``import trainwright.api`` stays light.
"""

from __future__ import annotations

from pathlib import Path

from trainwright.records.plan import PlanRecord, read_plan
from trainwright.records.run import RunRecord, read_run
from trainwright.records.step import read_steps
from trainwright.records.store import write_text

PAGE_NAME = "report.html"


def report(folder: Path, page: Path | None = None) -> tuple[PlanRecord, RunRecord, Path]:
    """Read a run, write its page (default: report.html in the folder), and return plan, run and the page's path."""
    from trainwright.report.run_html import run_html

    plan, run = read_plan(folder), read_run(folder)
    target = page or folder / PAGE_NAME
    write_text(target, run_html(plan, run, read_steps(folder)))
    return plan, run, target
