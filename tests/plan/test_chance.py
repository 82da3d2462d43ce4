import pytest

from trainwright.cost.estimate import Interval
from trainwright.plan.chance import beats, below, sigma


def test_an_interval_gives_back_its_own_confidence():
    interval = Interval(low=9.0, high=11.0, confidence=0.8)
    middle, spread = (9.0 * 11.0) ** 0.5, sigma(interval)
    assert below(11.0, middle, spread) - below(9.0, middle, spread) == pytest.approx(0.8)
    wider = sigma(Interval(low=9.0, high=11.0, confidence=0.5))
    assert wider > spread


def test_beating_is_a_coin_toss_between_equals_and_sure_without_spread():
    assert beats(2.0, 2.0) == 0.5
    assert beats(1.0, 2.0) + beats(2.0, 1.0) == pytest.approx(1.0)
    assert below(1.0, 0.5, 0.0) == 1.0
