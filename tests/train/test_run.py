import json
from pathlib import Path

import pytest
from tests.train.plans import tiny_job, tiny_plan

from trainwright.errors import CheckpointError, DataError, InvalidInputError, NumericsError
from trainwright.jobs.job import OptimizerSettings, Stopping, TextData
from trainwright.jobs.strategy import Strategy
from trainwright.records.lock import only_run_in
from trainwright.records.run import Evaluation, read_run
from trainwright.records.step import StepRecord, read_steps
from trainwright.train.run import Event, run_plan


def test_a_run_learns_and_leaves_its_records(tmp_path: Path) -> None:
    events: list[Event] = []
    folder = tiny_plan(tmp_path / "run")
    record = run_plan(folder, progress=events.append)
    steps = [event for event in events if isinstance(event, StepRecord)]
    assert [step.step for step in steps] == list(range(6))
    assert [event.step for event in events if isinstance(event, Evaluation)] == [3, 6]
    assert read_steps(folder) == tuple(steps)
    assert read_run(folder) == record
    assert record.status == "finished"
    assert record.last_loss is not None
    assert record.first_loss is not None
    assert record.last_loss < record.first_loss - 0.3
    assert record.peak_bytes is not None
    assert record.peak_bytes > 3 * 4 * record.n_parameters
    assert len(record.sample) > 50
    assert steps[-1].seconds == pytest.approx(sum(steps[-1].time.values()))
    assert run_plan(folder, progress=events.append) == record
    assert "nothing left to do" in str(events[-1])


def test_the_exported_folder_loads_in_transformers(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_plan(tmp_path / "run", job=tiny_job(stopping=Stopping(steps=1)))
    run_plan(folder)
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    ids = tokenizer("import this", return_tensors="pt")["input_ids"]
    assert tokenizer.decode(ids[0]) == "import this"
    assert torch.isfinite(model(ids).logits).all()


def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    folder = tiny_plan(tmp_path, strategy=Strategy(micro_batch=3, precision="fp32"))
    with pytest.raises(InvalidInputError, match="global batch of 8 does not divide into dp 1 x micro-batch 3"):
        run_plan(folder)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_batch(tmp_path: Path) -> None:
    job = tiny_job(optimizer=OptimizerSettings(name="sgd", learning_rate=1e30, clip_norm=None))
    with pytest.raises(NumericsError, match=r"(loss|norm) is (nan|inf) at step \d+, on 8 sequences from \w+"):
        run_plan(tiny_plan(tmp_path, job=job))
    assert read_run(tmp_path).status == "failed"


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    folder = tiny_plan(tmp_path)
    with only_run_in(folder), pytest.raises(InvalidInputError, match=r"another run is at work in .* \(process \d+\)"):
        run_plan(folder)


def test_data_that_changed_since_the_run_began_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("All that is gold does not glitter. " * 50)
    folder = tiny_plan(tmp_path / "run", job=tiny_job(data=TextData(paths=(text,), tokenizer="bytes")))
    run_plan(folder)
    (folder / "run.json").unlink()
    text.write_text(text.read_text() + "Not all those who wander are lost.")
    with pytest.raises(DataError, match="changed since the run began: 1750 bytes then, 1784 now"):
        run_plan(folder)
    text.unlink()
    with pytest.raises(DataError, match="no such file"):
        run_plan(folder)


def test_patience_ends_a_run_that_no_longer_improves(tmp_path: Path) -> None:
    job = tiny_job(
        stopping=Stopping(patience=2),
        optimizer=OptimizerSettings(name="sgd", learning_rate=1e-30, momentum=0.0),
        evaluate_every=1,
        checkpoint_every=100,
    )
    record = run_plan(tiny_plan(tmp_path, job=job))
    assert record.status == "finished"
    assert record.steps == 3


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    folder = tiny_plan(tmp_path, job=tiny_job(stopping=Stopping(steps=2)))
    run_plan(folder)
    tiny_plan(folder, job=tiny_job(seed=7))
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    with pytest.raises(CheckpointError, match="was made with seed 0, and the plan says 7"):
        run_plan(folder)


@pytest.mark.distributed
def test_two_processes_give_the_losses_of_one(tmp_path: Path) -> None:
    run_plan(tiny_plan(tmp_path / "one"))
    run_plan(tiny_plan(tmp_path / "two", strategy=Strategy(dp=2, micro_batch=2, precision="fp32")))
    one, two = read_steps(tmp_path / "one"), read_steps(tmp_path / "two")
    assert [s.loss for s in two] == pytest.approx([s.loss for s in one], rel=1e-5)
    assert [s.gradient_norm for s in two] == pytest.approx([s.gradient_norm for s in one], rel=1e-3)
