import numpy as np
import pytest

from trainwright.cost.calibration import predict
from trainwright.cost.corrections import shipped
from trainwright.cost.validate import GOLDEN, measure, read_cases
from trainwright.plan.judge import judge

CASES = [case for case in read_cases([GOLDEN])[0] if case.step_s is not None]


def test_on_the_shipped_points_the_choice_loses_at_most_two_percent_in_the_median_group():
    measured = measure(CASES)
    judged = judge(CASES, predict(measured.parts, shipped().of_all(measured)).tolist())
    assert len(judged) >= 5
    assert np.median([one.loss for one in judged]) <= 0.02


def test_the_choice_is_the_fastest_predicted_of_what_fits():
    seconds = [float(case.step_s or 0.0) for case in CASES]
    best = judge(CASES, seconds, headroom_share=-np.inf)
    worst = judge(CASES, [-s for s in seconds], headroom_share=-np.inf)
    assert all(one.loss == pytest.approx(0.0) for one in best)
    assert any(one.loss > 0.02 for one in worst)
