"""steps.jsonl: one line for each step, appended; a line cut short by a crash is left out when read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from trainwright.errors import InvalidInputError

SCHEMA_VERSION = 1
FILE_NAME = "steps.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One optimizer step: loss before it (nats per token), and where its seconds went.

    ``time``: seconds by part: forward, backward, optimizer, data, each collective by axis and name (``dp all_reduce``),
    ``agreement`` on loss and norm, and of a pipeline ``bubble``. ``memory_bytes``: what process 0 took by then.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float | None
    tokens: int
    seconds: float
    time: dict[str, float]
    memory_bytes: float | None = None
    schema_version: int = SCHEMA_VERSION


_ENCODER = json.JSONEncoder(separators=(",", ":"))


def step_line(step: StepRecord) -> str:
    """The record as one line of JSON."""
    return _ENCODER.encode({name: getattr(step, name) for name in StepRecord.__dataclass_fields__}) + "\n"


def read_steps(folder: Path) -> tuple[StepRecord, ...]:
    """All whole lines in order of step; of a step that a resumed run did again, the later line counts."""
    path = folder / FILE_NAME
    if not path.exists():
        return ()
    by_step: dict[int, StepRecord] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if fields.get("schema_version") != SCHEMA_VERSION:
            raise InvalidInputError(
                f"{path} has schema version {fields.get('schema_version')}, this Trainwright reads {SCHEMA_VERSION}"
            )
        by_step[fields["step"]] = StepRecord(**fields)
    return tuple(by_step[step] for step in sorted(by_step))
