"""How sure a plan is: that it fits, and that it really beats another."""

from __future__ import annotations

from math import erf, log, sqrt

from trainwright.cost.estimate import Interval

_Z80 = 1.2815515655446004
"""Half-width, in standard deviations, of the interval that holds 80 % of a normal distribution."""

RANKING_SIGMA = 0.09
"""Standard deviation of ln(measured / predicted) between strategies of one job on one machine.

Errors that strategies share (clocks, software) cancel in a comparison; this is what remains: 1.48 times the median
deviation from the mean of its group, over 243 groups of published runs that differ in strategy only
(train_measurements, November 2026; the constants were fitted to some of them).
"""


def sigma(interval: Interval) -> float:
    """Standard deviation of the logarithm, taking the truth as log-normal around the middle of its interval.

    >>> round(sigma(Interval(low=0.8, high=1.25)), 3)
    0.174
    """
    z = _Z80 if interval.confidence == 0.8 else _quantile(interval.confidence)
    return log(float(interval.high) / float(interval.low)) / (2.0 * z)


def below(limit: float, middle: float, spread: float) -> float:
    """Probability that a log-normal figure with this middle and spread lies below the limit.

    >>> below(10.0, 10.0, 0.1), round(below(11.0, 10.0, 0.1), 2)
    (0.5, 0.83)
    """
    if spread <= 0.0:
        return 1.0 if middle <= limit else 0.0
    return _normal(log(limit / middle) / spread)


def beats(first_s: float, second_s: float, spread: float = RANKING_SIGMA) -> float:
    """Probability that the first really is the faster one, given independent errors of this spread.

    >>> beats(1.0, 1.0), round(beats(1.0, 1.1), 2)
    (0.5, 0.77)
    """
    return below(second_s, first_s, sqrt(2.0) * spread)


def _normal(x: float) -> float:
    return 0.5 * (1.0 + erf(x / sqrt(2.0)))


def _quantile(confidence: float) -> float:
    """Half-width of the central interval, by bisection of the normal distribution."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if 2.0 * _normal(middle) - 1.0 < confidence else (low, middle)
    return low
