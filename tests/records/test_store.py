import json
from dataclasses import replace
from pathlib import Path

import pytest

from trainwright.errors import InvalidInputError
from trainwright.records.plan import Candidate, PlanRecord, read_plan, write_plan
from trainwright.records.run import Evaluation, RunRecord, read_run, write_run
from trainwright.records.step import StepRecord, read_steps, step_line

CANDIDATE = Candidate(
    label="1 process x 2 threads",
    strategy={"dp": 1},
    n_processes=1,
    threads_per_process=2,
    step_s=0.04,
    step_low_s=0.03,
    step_high_s=0.05,
    peak_bytes=1e9,
    tokens_per_s=1e5,
    time={"forward": 0.01, "backward": 0.03},
    memory={"parameters": 1e9},
)
PLAN = PlanRecord(
    job={"name": "x"},
    model={"model_type": "llama"},
    cluster={"name": "here"},
    device_type="cpu",
    stack="trainwright",
    chosen=CANDIDATE,
    others=(replace(CANDIDATE, label="other"),),
    why=("it is the fastest",),
)
RUN = RunRecord(
    status="finished",
    steps=10,
    tokens=100,
    seconds=1.0,
    step_s=0.1,
    time={"forward": 0.1},
    measured_steps=8,
    tokens_per_s=100.0,
    evaluations=(Evaluation(step=10, loss=1.0, perplexity=2.718),),
    resident_bytes=(1e9,),
)


def test_records_come_back_equal(tmp_path: Path) -> None:
    write_plan(tmp_path, PLAN)
    write_run(tmp_path, RUN)
    assert read_plan(tmp_path) == PLAN
    assert read_plan(tmp_path / "plan.json") == PLAN
    assert read_run(tmp_path) == RUN


def test_an_old_record_fails_with_its_version(tmp_path: Path) -> None:
    path = write_plan(tmp_path, PLAN)
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 0, "trainwright": "0.0.1"}))
    with pytest.raises(InvalidInputError, match=r"has schema version 0, this Trainwright reads 1") as caught:
        read_plan(tmp_path)
    assert "0.0.1" in str(caught.value.hint)


def test_a_record_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, RUN)
    with pytest.raises(InvalidInputError, match="is not a plan record"):
        read_plan(tmp_path / "run.json")


def test_broken_json_missing_file_and_strange_fields_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no"):
        read_plan(tmp_path)
    path = write_plan(tmp_path, PLAN)
    whole = path.read_text()
    path.write_text(whole[:50])
    with pytest.raises(InvalidInputError, match="is not JSON"):
        read_plan(tmp_path)
    path.write_text(json.dumps({**json.loads(whole), "colour": 1}))
    with pytest.raises(InvalidInputError, match="unexpected colour"):
        read_plan(tmp_path)
    fields = json.loads(whole)
    del fields["stack"]
    path.write_text(json.dumps(fields))
    with pytest.raises(InvalidInputError, match="stack"):
        read_plan(tmp_path)


def test_folders_on_the_way_are_made_and_one_that_cannot_be_is_named(tmp_path: Path) -> None:
    write_plan(tmp_path / "absent", PLAN)
    assert read_plan(tmp_path / "absent") == PLAN
    with pytest.raises(InvalidInputError, match=r"cannot write .*: Not a directory"):
        write_plan(tmp_path / "absent" / "plan.json" / "more", PLAN)


def test_steps_leave_out_a_cut_line_and_keep_the_later_of_two(tmp_path: Path) -> None:
    step = StepRecord(step=1, loss=2.0, learning_rate=1e-3, gradient_norm=1.0, tokens=8, seconds=0.1, time={})
    again = replace(step, loss=1.5)
    text = step_line(step) + step_line(replace(step, step=2)) + step_line(again) + step_line(step)[:20]
    (tmp_path / "steps.jsonl").write_text(text)
    assert [s.loss for s in read_steps(tmp_path)] == [1.5, 2.0]
    (tmp_path / "steps.jsonl").write_text(step_line(replace(step, schema_version=0)))
    with pytest.raises(InvalidInputError, match="schema version 0"):
        read_steps(tmp_path)
