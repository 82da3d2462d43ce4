"""training.compile: the same numbers, by code that was compiled."""

import shutil
from pathlib import Path

import pytest
from tests.train.plans import tiny_job, tiny_plan

from trainwright.jobs.job import OptimizerSettings, Stopping, TextData
from trainwright.records.step import read_steps
from trainwright.train.run import run_plan


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch raises and swallows its own while it compiles
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler here")
def test_compiled_blocks_compute_what_eager_ones_do(tmp_path: Path) -> None:
    """One compilation serves all blocks; losses and norms are those of eager code."""
    from torch._dynamo.utils import counters

    plain = OptimizerSettings(name="sgd", learning_rate=0.1, momentum=0.0)
    taken = {}
    for compiles in (False, True):
        counters.clear()
        data = TextData(builtin="python-reference", tokenizer="bytes", held_out_share=0.0)
        job = tiny_job(compile=compiles, optimizer=plain, stopping=Stopping(steps=3), data=data)
        run_plan(tiny_plan(tmp_path / str(compiles), job=job))
        taken[compiles] = [(step.loss, step.gradient_norm) for step in read_steps(tmp_path / str(compiles))]
        assert (counters["stats"]["unique_graphs"] > 0) == compiles
    for eager, compiled in zip(taken[False], taken[True], strict=True):
        assert compiled == pytest.approx(eager, rel=1e-6)
