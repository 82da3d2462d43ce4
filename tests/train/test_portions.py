"""Unlike replicas train on unlike portions of the batch, and check on the same held-out text as one process."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.train.plans import SHAPE, tiny_job, tiny_plan, two_cores

from trainwright.api.planning import plan_file
from trainwright.hardware.cluster import Cluster
from trainwright.jobs.job import ModelChoice, Stopping
from trainwright.jobs.model import spec_of_job
from trainwright.jobs.strategy import Strategy
from trainwright.plan.answer import Question, answer
from trainwright.plan.here import carried_out
from trainwright.plan.pins import parse_pins
from trainwright.plan.subject import Subject
from trainwright.records.plan import write_plan
from trainwright.records.step import read_steps
from trainwright.train.run import run_plan


@pytest.mark.distributed
def test_unlike_portions_with_divided_weights(tmp_path: Path) -> None:
    job = tiny_job(global_batch=16, stopping=Stopping(steps=3))
    alone = run_plan(tiny_plan(tmp_path / "alone", job=job))
    # 256 held-out windows over 3 replicas in pieces of 5: the first has a piece more, and weights are gathered in each
    strategy = Strategy(dp=3, micro_batch=5, zero_stage=3, samples=(10, 4, 2), precision="fp32")
    unlike = run_plan(tiny_plan(tmp_path / "unlike", job=job, strategy=strategy))
    losses = [[step.loss for step in read_steps(tmp_path / name)] for name in ("alone", "unlike")]
    assert losses[1] == pytest.approx(losses[0], abs=2e-6)
    assert unlike.evaluations[-1].loss == pytest.approx(alone.evaluations[-1].loss, abs=2e-6)


@pytest.mark.distributed
@pytest.mark.slow
def test_a_plan_over_unlike_machines_gives_unlike_portions_and_runs(tmp_path: Path) -> None:
    group = two_cores().divisions[0].groups[0]
    slow = replace(group.device, name="slow", flop_per_s={k: v / 3 for k, v in group.device.flop_per_s.items()})
    slow = replace(slow, memory_bytes_per_s=group.device.memory_bytes_per_s / 3, launch_s=3 * group.device.launch_s)
    unlike = Cluster(name="unlike", groups=(group, replace(group, device=slow)), between=group.inter)
    job = tiny_job(model=ModelChoice(shape=SHAPE), global_batch=16, stopping=Stopping(steps=2), precision="fp32")
    pins = (*parse_pins(["precision=fp32"]), *carried_out(job, ()))
    subject = Subject(job=job, model=spec_of_job(job))
    found = answer(Question(subject=subject, clusters=(unlike,), stack="trainwright", pins=pins))
    plan = plan_file(found)
    samples = plan.chosen.strategy["samples"]
    assert sum(samples) == 16
    assert samples[0] > samples[1]
    write_plan(tmp_path, plan)
    run_plan(tmp_path)
    run_plan(tiny_plan(tmp_path / "alone", job=job, model=plan.model))
    losses = [[step.loss for step in read_steps(folder)] for folder in (tmp_path, tmp_path / "alone")]
    assert losses[0] == pytest.approx(losses[1], abs=2e-6)
