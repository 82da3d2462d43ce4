"""Unlike replicas train on unlike portions of the batch, and check on the same held-out text as one process."""

from pathlib import Path

import pytest
from tests.train.plans import tiny_job, tiny_plan

from trainwright.jobs.job import Stopping
from trainwright.jobs.strategy import Strategy
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
