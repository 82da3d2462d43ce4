"""What a run teaches the machine's stored profile, apart from what the probe measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainwright.records.plan import read_plan
from trainwright.records.run import read_run
from trainwright.records.step import read_steps

Tell = Callable[[Any], None]

LEAST_STEPS = 10
MOST_SPREAD = 0.15
"""From how many measured steps the machine's profile learns, and how far apart their middle half may lie."""
LEAST_STEP_S = 0.02
"""Shorter steps are mostly calls, and differ by a fifth between two processes: they would mislead longer ones."""


def learn(folder: Path, tell: Tell) -> bool:
    """Correct this machine's profile by what the parts of a run took; whether it was.

    An unsteady run teaches nothing, nor does one of tiny steps.

    The plan must be for this machine as it was probed. `trainwright probe --forget` drops what runs taught.
    """
    from trainwright.probe import machine as probed
    from trainwright.report.compare import EXCHANGES, measured_parts, predicted_parts

    plan, record, steps = read_plan(folder), read_run(folder), read_steps(folder)
    seconds = sorted(step.seconds for step in steps[-record.measured_steps :])
    if plan.cluster.get("source") != PROBED or len(seconds) < LEAST_STEPS or record.step_s < LEAST_STEP_S:
        return False
    quarter = len(seconds) // 4
    if seconds[-1 - quarter] - seconds[quarter] > MOST_SPREAD * record.step_s:
        return False
    expected, found = predicted_parts(plan.chosen), measured_parts(record)
    names = {
        "compute": ("forward", "backward", "other"),
        "optimizer": ("optimizer",),
        "communication": (*EXCHANGES, "bubble"),
    }
    parts = {part: (sum(expected[n] for n in own), sum(found[n] for n in own)) for part, own in names.items()}
    probed.learn({name: pair for name, pair in parts.items() if max(pair) > 0.01 * record.step_s}, tell)
    return True


PROBED = "measured by trainwright probe"
"""Where a plan's figures come from if a probe of this machine made them (probe/result.py)."""
