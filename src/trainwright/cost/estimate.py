"""The answer of a prediction: named parts that add up, each with where its formula comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trainwright.units import Number as Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where the truth lies with the given confidence."""

    low: Number
    high: Number
    confidence: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Predicted cost of one optimizer step. Parts add up to the whole.

    ``time``: exposed seconds by part (names in cost/step.py). ``hidden``: communication seconds that run behind
    compute and are in no part. ``memory``: bytes by part at the peak of the fullest pipeline stage, on one device.
    ``model_flop`` is what the model needs, ``hardware_flop`` what is really done (recomputation included), both per
    device and step. ``steady_bytes``: what stays allocated between steps.
    """

    time: Mapping[str, Number]
    memory: Mapping[str, Number]
    model_flop: Number
    hardware_flop: Number
    tokens_per_step: Number
    n_devices: Number
    hidden: Mapping[str, Number] = field(default_factory=dict)
    stage_memory: tuple[Mapping[str, Number], ...] = ()
    energy_j: Number | None = None
    step_interval: Interval | None = None
    memory_interval: Interval | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def step_s(self) -> Number:
        """Seconds of one optimizer step."""
        return sum(self.time.values(), start=0.0)

    @property
    def peak_bytes(self) -> Number:
        """Most bytes allocated on one device at any time of the step."""
        return sum(self.memory.values(), start=0.0)

    @property
    def tokens_per_s(self) -> Number:
        """Tokens (samples, for models without tokens) per second over all devices."""
        return self.tokens_per_step / self.step_s
