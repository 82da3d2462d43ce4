"""A run as JSON: the comparison, with what it was measured on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trainwright.records.plan import PlanRecord
from trainwright.records.run import RunRecord
from trainwright.report.compare import compare, unit_of

SCHEMA_VERSION = 1


def run_json(plan: PlanRecord, run: RunRecord) -> dict[str, Any]:
    """What `trainwright report --json` prints: lines of predicted and measured in base units, and the run itself."""
    lines = [
        {**asdict(line), "difference_share": line.difference_share}
        for line in compare(plan.chosen, run, unit_of(plan.job))
    ]
    return {"schema_version": SCHEMA_VERSION, "lines": lines, "strategy": plan.chosen.strategy, "run": asdict(run)}
