"""What a run teaches the machine's profile: steady runs do, others do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainwright.api.learning import PROBED, learn
from trainwright.probe import machine as probed
from trainwright.records.plan import Candidate, PlanRecord, write_plan
from trainwright.records.run import RunRecord, write_run
from trainwright.records.step import FILE_NAME, StepRecord, step_line


def _folder(folder: Path, seconds: list[float], step_s: float = 1.0) -> Path:
    time = {"forward": 0.3, "backward": 0.6, "optimizer": 0.1}
    chosen = Candidate(
        label="one", strategy={}, n_processes=1, threads_per_process=1, step_s=0.5, step_low_s=0.4, step_high_s=0.6,
        peak_bytes=1.0, tokens_per_s=1.0, time={"forward": 0.2, "backward": 0.2, "optimizer": 0.1}, memory={},
    )  # fmt: skip
    write_plan(
        folder, PlanRecord(job={}, model={}, cluster={"source": PROBED}, device_type="cpu", stack="s", chosen=chosen)
    )
    write_run(folder, RunRecord(
        status="finished", steps=12, tokens=12, seconds=12.0, step_s=step_s, time=time, measured_steps=12,
        tokens_per_s=1.0,
    ))  # fmt: skip
    steps = [
        StepRecord(step=i, loss=1.0, learning_rate=0.1, gradient_norm=None, tokens=1, seconds=s, time=time)
        for i, s in enumerate(seconds)
    ]
    (folder / FILE_NAME).write_text("".join(step_line(step) for step in steps))
    return folder


def test_a_steady_run_teaches_and_another_does_not(tmp_path, monkeypatch):
    taught = []
    monkeypatch.setattr(probed, "learn", lambda parts, say: taught.append(parts))
    assert not learn(_folder(tmp_path, [0.5, 1.5] * 6), lambda line: None)
    assert not learn(_folder(tmp_path, [0.01] * 12, step_s=0.01), lambda line: None)
    assert learn(_folder(tmp_path, [1.0] * 12), lambda line: None)
    assert taught == [{"compute": (pytest.approx(0.4), pytest.approx(0.9)), "optimizer": (0.1, 0.1)}]
