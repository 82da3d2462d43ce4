from dataclasses import replace

import pytest
from tests.cost.clusters import A100

from trainwright.cost.energy import HOST_SHARE, IDLE_SHARE, step_joules
from trainwright.cost.estimate import Estimate
from trainwright.cost.money import bill

ONE = Estimate(
    time={"forward": 1.0, "bubble": 1.0},
    memory={},
    model_flop=0.0,
    hardware_flop=0.0,
    tokens_per_step=1.0,
    n_devices=2.0,
)


def test_waiting_draws_less_than_computing() -> None:
    device = replace(A100, power_w=400.0)
    busy = step_joules(replace(ONE, time={"forward": 2.0}), device)
    half = step_joules(ONE, device)
    idle = step_joules(replace(ONE, time={"bubble": 2.0}), device)
    assert busy > half > idle == pytest.approx(2 * 2.0 * IDLE_SHARE * 400.0 * (1 + HOST_SHARE))


def test_nobody_knows_the_power_of_every_device() -> None:
    assert step_joules(ONE, replace(A100, power_w=None)) is None


def test_a_job_without_price_has_no_dollars() -> None:
    whole = bill(ONE, 1800, None)
    assert (whole.seconds, whole.device_hours, whole.dollars, whole.joules) == (3600.0, 2.0, None, None)
