from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.train.images import image_job, image_plan
from tests.train.test_resume import at_step, in_child, kill_myself

from trainwright.jobs.job import RateSchedule, Stopping
from trainwright.jobs.strategy import Strategy
from trainwright.records.plan import read_plan
from trainwright.records.step import read_steps
from trainwright.runtime.loss import loss_sum
from trainwright.train.prepare import prepare_data
from trainwright.train.run import run_plan
from trainwright.train.trials import Open, noise_scale, opener, range_test, start_large


@pytest.fixture(scope="module")
def open_(tmp_path_factory: pytest.TempPathFactory) -> Open:
    folder = image_plan(tmp_path_factory.mktemp("trials"), Strategy(micro_batch=8, precision="fp32"), augment=())
    prepare_data(folder / "data", image_job(augment=()))
    return opener(folder, read_plan(folder))


def test_a_range_test_ends_where_the_loss_diverges_and_proposes_a_rate_below(open_: Open) -> None:
    curve = range_test(open_, image_job(augment=()), n_steps=60, highest=100.0)
    assert curve.rates[0] == pytest.approx(1e-4)
    assert len(curve.rates) < 60
    assert curve.proposed is not None
    assert 1e-4 < curve.proposed < 0.1


def test_a_large_rate_is_divided_by_ten_until_it_is_calm(open_: Open) -> None:
    curves = start_large(open_, image_job(augment=()), n_steps=40, highest=10.0)
    firsts = [curve.rates[0] for curve in curves]
    assert firsts == pytest.approx([10.0 / 10**power for power in range(len(firsts))])
    assert [curve.proposed for curve in curves[:-1]] == [None] * (len(curves) - 1)
    assert curves[-1].proposed == firsts[-1]
    assert firsts[-1] <= 0.1


def test_the_noise_scale_is_the_variance_of_single_gradients_over_the_square_of_the_mean(open_: Open) -> None:
    job = image_job(augment=(), global_batch=8)
    found = noise_scale(open_, job, n_steps=1, rate=1e-3)
    session = open_(job)
    inputs, targets = session.batch(0)
    model = session.sharded.model
    single = []
    for x, y in zip(inputs.split(1), targets.split(1), strict=True):
        grads = torch.autograd.grad(loss_sum(model(x), y), list(model.parameters()))
        single.append(torch.cat([grad.flatten() for grad in grads]))
    trace = float(torch.stack(single).var(dim=0).sum())
    square = float(torch.stack(single).mean(dim=0).square().sum()) - trace / 8
    assert found.samples == pytest.approx(trace / square, rel=1e-3)


@pytest.mark.parametrize("name", ["plateau", "trial"])
def test_a_rate_cut_by_checks_is_the_same_after_a_kill(tmp_path: Path, name: str) -> None:
    """At a rate of 3 the loss does not fall, so that both cut within twelve steps."""
    rule = {
        "schedule": RateSchedule(name=name, warmup_share=0.0, patience=1),  # type: ignore[arg-type]
        "optimizer": replace(image_job().optimizer, learning_rate=3.0),
        "stopping": Stopping(steps=12),
        "evaluate_every": 2,
    }
    run_plan(image_plan(tmp_path / "straight", **rule))
    folder = image_plan(tmp_path / "killed", **rule)
    assert in_child(lambda: run_plan(folder, progress=at_step(7, kill_myself))) < 0
    run_plan(folder)
    straight, killed = read_steps(tmp_path / "straight"), read_steps(folder)
    assert [(s.loss, s.learning_rate) for s in killed] == [(s.loss, s.learning_rate) for s in straight]
    assert straight[0].learning_rate == 3.0
    assert straight[-1].learning_rate < 0.5
