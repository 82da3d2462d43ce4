"""Plans for one machine: few axes are searched, and any that the user pins."""

import pytest
from tests.hardware.test_machine import made_up_machine
from tests.train.plans import tiny_job

from trainwright.errors import InvalidInputError
from trainwright.jobs.job import ModelChoice
from trainwright.plan.here import plan_here
from trainwright.plan.pins import parse_pins

JOB = tiny_job(model=ModelChoice(shape={"layers": 2, "hidden": 32, "heads": 4}))


def test_pinned_axes_are_planned_as_the_runtime_carries_them_out() -> None:
    for text, field, value in (("pp=2", "pp", 2), ("zero=3", "zero_stage", 3), ("cp=2", "cp", 2)):
        chosen = plan_here(JOB, made_up_machine(), parse_pins([text])).chosen
        assert chosen.strategy[field] == value
        assert chosen.n_processes == 2
    free = plan_here(JOB, made_up_machine()).chosen.strategy
    assert (free["pp"], free["zero_stage"], free["cp"]) == (1, 0, 1)


def test_offload_is_not_carried_out_even_when_pinned() -> None:
    with pytest.raises(InvalidInputError, match="leaves no legal strategy"):
        plan_here(JOB, made_up_machine(), parse_pins(["offload=optimizer"]))
