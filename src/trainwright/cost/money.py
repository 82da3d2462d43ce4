"""Seconds, device hours, joules and dollars of a whole job."""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.cost.estimate import Estimate
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A whole job; joules and dollars are None where nobody knows the power or the price."""

    n_steps: float
    seconds: Number
    device_hours: Number
    joules: Number | None
    dollars: Number | None


def bill(estimate: Estimate, n_steps: float, dollars_per_step: Number | None) -> Bill:
    """So many steps, one after another. Ignores start-up, checkpoints and failures.

    >>> one = Estimate(time={"forward": 3.6}, memory={}, model_flop=0.0, hardware_flop=0.0, tokens_per_step=1.0,
    ...     n_devices=8.0)
    >>> bill(one, 1000, 0.02).device_hours, bill(one, 1000, 0.02).dollars
    (8.0, 20.0)
    """
    seconds = estimate.step_s * n_steps
    return Bill(
        n_steps=n_steps,
        seconds=seconds,
        device_hours=seconds / 3600.0 * estimate.n_devices,
        joules=None if estimate.energy_j is None else estimate.energy_j * n_steps,
        dollars=None if dollars_per_step is None else dollars_per_step * n_steps,
    )
