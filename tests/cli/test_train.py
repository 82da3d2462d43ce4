"""The main job as a user types it: probe, plan, run, report, in processes of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

JOB = """name = "tiny"
[model]
layers = 2
hidden = 64
heads = 4
[data]
builtin = "python-reference"
tokenizer = "bytes"
[training]
global_batch = 8
sequence = 64
steps = 12
"""


def trainwright(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRAINWRIGHT_CACHE": str(folder / "cache"), "HOME": str(folder / "nobody")}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-m", "trainwright", *words]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=folder, timeout=300, check=False
    )


@pytest.mark.slow
@pytest.mark.distributed
def test_one_command_probes_plans_runs_and_reports(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(JOB)
    first = trainwright(tmp_path, "train", "job.toml", "--json")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    lines = {line["name"]: line for line in told["lines"]}
    assert lines["step"]["predicted"] > 0
    assert lines["step"]["measured"] > 0
    assert abs(lines["peak memory"]["difference_share"]) < 0.05
    assert told["run"]["status"] == "finished"
    assert told["run"]["steps"] == 12
    folder = tmp_path / "runs" / "tiny"
    made = {path.name for path in folder.iterdir()}
    assert made >= {"plan.json", "run.json", "steps.jsonl", "report.html", "checkpoints", "model", "data"}
    assert "measuring" in first.stderr
    assert not (tmp_path / "nobody").exists()

    second = trainwright(tmp_path, "train", "job.toml", "--strategy", "dp=2,precision=fp32", "--verify")
    assert second.returncode == 0, second.stderr
    assert "measuring" not in second.stderr
    assert "verified: " in second.stderr
    assert (tmp_path / "runs" / "tiny-2" / "run.json").exists()
    assert "predicted" in second.stdout

    planned = json.loads((folder / "plan.json").read_text())["chosen"]
    trainwright(tmp_path, "plan", "job.toml", "--output", "planned.json")
    assert json.loads((tmp_path / "planned.json").read_text())["chosen"]["strategy"] == planned["strategy"]
    priced = trainwright(tmp_path, "estimate", "job.toml", "--strategy", "dp=2,mb=4")
    assert priced.returncode == 0, priced.stderr
    assert "dp2 mb4" in priced.stdout

    again = trainwright(tmp_path, "train", "runs/tiny")
    assert again.returncode == 0, again.stderr
    assert "nothing left to do" in again.stderr

    for words, expected in (
        (("train", "job.toml", "--strategy", "dp=16"), "the pin 'dp=16' leaves no legal strategy"),
        (("train", "job.toml", "--strategy", "dq=1"), "unknown axis 'dq'"),
        (("train", "runs/tiny", "--fresh"), "is planned already"),
        (("train", "absent.toml"), "there is no job file"),
        (("report", "runs"), "there is no"),
    ):
        refused = trainwright(tmp_path, *words)
        assert (refused.returncode, expected in refused.stderr) == (2, True), refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, "no such file"), ("", "the text is empty"), ("too short", "shorter than one sequence")],
)
def test_unusable_text_is_refused_before_anything_is_measured(tmp_path: Path, text: str | None, expected: str) -> None:
    (tmp_path / "job.toml").write_text(JOB.replace('builtin = "python-reference"', 'text = "book.txt"'))
    if text is not None:
        (tmp_path / "book.txt").write_text(text)
    refused = trainwright(tmp_path, "train", "job.toml")
    assert (refused.returncode, expected in refused.stderr) == (4, True), refused.stderr
    assert "measuring" not in refused.stderr
    assert not (tmp_path / "runs" / "tiny").exists()
