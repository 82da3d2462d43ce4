"""Eleven faults in a checkpoint, each inflicted on a real run: how many crash the resume, or lose state silently?

The list is that of a survey of the most used trainer (transformers' Trainer 5.23: six crashed the resume, three lost
state silently, two loaded wrong weights silently). A run is stopped after its fifth step, the newest checkpoint is
damaged, and the run is started again; well is only a run that says what is wrong, goes on from the checkpoint before,
and ends with the bits of one that was left alone.

    python -m benchmarks.faults
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.train.faults import ELEVEN, Fault
from tests.train.plans import tiny_plan
from tests.train.test_resume import GPT2_WITH_DROPOUT, at_step, outcome

from trainwright.errors import InterruptedRunError, TrainwrightError
from trainwright.train.run import run_plan

STEP = 5
"""The step of the checkpoint that is damaged."""


def stopped_run(folder: Path) -> Path:
    """A run that was stopped after its fifth step; checkpoints 4 and 5 are there."""
    try:
        run_plan(
            tiny_plan(folder, model=GPT2_WITH_DROPOUT),
            progress=at_step(STEP - 1, lambda: os.kill(os.getpid(), signal.SIGINT)),
        )
    except InterruptedRunError:
        return folder
    raise AssertionError("the run was not stopped")


def verdict(stopped: Path, folder: Path, fault: Fault, undisturbed: Any) -> str:
    """What becomes of a copy of the stopped run after the fault: well, crash or silent, and why."""
    shutil.copytree(stopped, folder)
    fault(folder / "checkpoints" / f"step_{STEP:08d}")
    try:
        record = run_plan(folder)
    except (TrainwrightError, OSError, RuntimeError, ValueError, KeyError) as error:
        return f"crash: {error}"
    note = record.notes[0] if record.notes else ""
    if f"the checkpoint of step {STEP} is damaged" not in note or record.resumed_from != STEP - 1:
        return f"silent: resumed from {record.resumed_from}, said {note!r}"
    return f"well: {note}" if outcome(folder) == undisturbed else "silent: other bits at the end"


def trial(faults: Mapping[str, Fault], around: Path) -> dict[str, str]:
    """The verdict on each fault."""
    run_plan(tiny_plan(around / "alone", model=GPT2_WITH_DROPOUT))
    undisturbed, stopped = outcome(around / "alone"), stopped_run(around / "stopped")
    return {
        name: verdict(stopped, around / str(number), fault, undisturbed)
        for number, (name, fault) in enumerate(faults.items())
    }


def main() -> None:
    """Print each fault, what became of it, and the count."""
    with tempfile.TemporaryDirectory() as around:
        found = trial(ELEVEN, Path(around))
    for name, what in found.items():
        print(f"{name:30} {what}")
    bad = sum(not what.startswith("well") for what in found.values())
    print(f"{bad} of {len(found)} lead to a crash or a silent loss")


if __name__ == "__main__":
    main()
