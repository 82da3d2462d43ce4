"""Corrections of serving: a scale for each kind of a pass, for everything, each engine, device, and engine on a family.

Log scales add up over the levels, each pulled to 0 by a prior; fitted by Gauss-Newton on the logarithm of measured
seconds with Huber weights, as training's are (cost/calibration.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.calibration import STEP, huber_weights
from trainwright.cost.serving.compose import ServingScales, pass_s
from trainwright.cost.serving.forward import Pass
from trainwright.cost.serving.load import Repeated
from trainwright.cost.serving.replica import Replica

Array = NDArray[Any]
KINDS = tuple(f.name for f in fields(ServingScales))
N_PASSES = 2

Names = tuple[str, str, str]
"""What a figure is filed under: engine (and whether weights are unpacked), device, engine on architecture."""

_SPREADS = {
    #              all  engine device  pair
    "products":    (0.2, 0.40, 0.20, 0.30),
    "traffic":     (0.2, 0.40, 0.15, 0.20),
    "experts":     (0.3, 0.40, 0.15, 0.20),
    "attention":   (0.4, 0.40, 0.00, 0.20),
    "cache":       (0.3, 0.40, 0.00, 0.20),
    "stream":      (0.4, 0.40, 0.00, 0.00),
    "kernels":     (0.4, 0.60, 0.15, 0.00),
    "collectives": (0.3, 0.40, 0.20, 0.20),
    "step":        (0.4, 0.70, 0.00, 0.20),
    "sequences":   (0.4, 0.80, 0.00, 0.20),
}  # fmt: skip
"""How far a log scale is expected to lie from 0 at each level. 0: not fitted there."""

SPREADS = np.array([_SPREADS[kind] for kind in KINDS]).T
OWN_SPREADS = np.array([[0.3], [0.4], [0.3], [0.3]]) * np.ones(len(KINDS))
"""The same for one owner's measurements beside what others' gave: all, one engine and format, one device, one way
of measuring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """Log scales by level and name; what nobody measured adds nothing."""

    levels: tuple[Mapping[str, Array], ...] = field(default_factory=lambda: ({}, {}, {}, {}))

    def of(self, names: Sequence[str]) -> Array:
        """Log scales by kind of what is filed under these names, "all" before them."""
        total = np.zeros(len(KINDS))
        for known, name in zip(self.levels, ("all", *names), strict=True):
            total = total + known.get(name, 0.0)
        return total

    def of_all(self, names: Sequence[Sequence[str]]) -> Array:
        """Log scales of many: (figures, kinds)."""
        return np.array([self.of(each) for each in names]).reshape(len(names), len(KINDS))


def names_of(replica: Replica) -> Names:
    """What a replica's corrections are filed under."""
    unpacked = "+packed" if replica.stored.bits < 8.0 and replica.dtype in ("bf16", "fp16", "fp32") else ""
    engine = replica.stack.name + unpacked
    return engine, replica.device.name, f"{engine}@{replica.device.architecture}"


def scales(log_scales: Array) -> ServingScales:
    """Log scales (..., kinds) as scales that multiply (..., passes)."""
    factors = np.exp(log_scales)
    return ServingScales(**{kind: factors[..., i, None] for i, kind in enumerate(KINDS)})


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPasses:
    """Measured figures: their passes as arrays (figures, N_PASSES), how often each is done, seconds, weights."""

    parts: Pass
    counts: Array
    seconds: Array
    weights: Array
    names: tuple[Sequence[str], ...]

    def take(self, index: Array) -> MeasuredPasses:
        """Some of them."""
        return MeasuredPasses(
            parts=Pass(**{f.name: getattr(self.parts, f.name)[index] for f in fields(Pass)}),
            counts=self.counts[index],
            seconds=self.seconds[index],
            weights=self.weights[index],
            names=tuple(self.names[i] for i in index),
        )


def laid_out(many: Sequence[Sequence[Repeated]]) -> tuple[Pass, Array]:
    """Passes of many figures as one array of each kind, and their counts; what a figure lacks counts 0."""
    counts = np.zeros((len(many), N_PASSES))
    columns = {f.name: np.zeros((len(many), N_PASSES)) for f in fields(Pass)}
    for row, passes in enumerate(many):
        for place, each in enumerate(passes):
            counts[row, place] = float(each.count)
            for name, column in columns.items():
                column[row, place] = float(getattr(each.one, name))
    return Pass(**columns), counts


def predict(measured: MeasuredPasses, log_scales: Array) -> Array:
    """Seconds of each figure with these log scales: (figures,)."""
    total: Array = np.sum(measured.counts * pass_s(measured.parts, scales(log_scales)), axis=1)
    return total


def fit(
    measured: MeasuredPasses, base: Array | None = None, spreads: Array = SPREADS, n_rounds: int = 10
) -> Corrections:
    """The corrections that the measurements ask for, beside those of ``base`` (log scales of each figure)."""
    groups = [["all"] * len(measured.seconds), *map(list, zip(*measured.names, strict=True))]
    rows = {(level, name): i for i, (level, name) in enumerate(dict.fromkeys(_listed(groups)))}
    spread = np.array([spreads[level] for level, _ in rows])
    theta = np.zeros_like(spread)
    places = np.array([[rows[level, name] for level, name in enumerate(each)] for each in zip(*groups, strict=True)])
    start = np.zeros((len(measured.seconds), len(KINDS))) if base is None else base
    for _ in range(n_rounds):
        theta = theta + _step(measured, start, places, theta, spread)
    levels: tuple[dict[str, Array], ...] = ({}, {}, {}, {})
    for (level, name), row in rows.items():
        levels[level][name] = theta[row]
    return Corrections(levels=levels)


def _listed(groups: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    return [(level, name) for level, group in enumerate(groups) for name in sorted(set(group))]


def _step(measured: MeasuredPasses, start: Array, places: Array, theta: Array, spread: Array) -> Array:
    """One damped Gauss-Newton step of all constants."""
    logs = start + theta[places].sum(axis=1)
    at = predict(measured, logs)
    residuals = np.log(measured.seconds / at)
    weights = huber_weights(residuals, measured.weights)
    design = np.zeros((len(at), *theta.shape))
    for kind in range(len(KINDS)):
        moved = logs.copy()
        moved[:, kind] += STEP
        slope = np.log(predict(measured, moved) / at) / STEP
        design[np.arange(len(at))[:, None], places, kind] += slope[:, None]
    free = np.flatnonzero(spread.ravel() > 0)
    flat = design.reshape(len(at), -1)[:, free]
    weighted = flat * weights[:, None]
    priors = 1.0 / spread.ravel()[free] ** 2
    gradient = weighted.T @ residuals - theta.ravel()[free] * priors
    step = np.zeros(theta.size)
    step[free] = np.clip(np.linalg.solve(weighted.T @ flat + np.diag(priors), gradient), -0.3, 0.3)
    return step.reshape(theta.shape)
