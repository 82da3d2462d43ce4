"""Constants of stacks and devices from measured steps: a scale for each kind of ingredient.

log scale of a step's ingredient = all + its stack's + its device's + its stack's on that architecture, each pulled
towards 0 by a prior; the measured
logarithms are fitted by Gauss-Newton with Huber weights, so that a few odd rows cannot bend a constant.
Ignores that two constants may explain the same rows: the prior then shares the blame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.compose import Scales, compose
from trainwright.cost.ingredients import Ingredients, pick

Array = NDArray[Any]
KINDS = tuple(f.name for f in fields(Scales))
"""What may be scaled, in order: the columns of every array of log scales here."""

_SPREADS = {
    #             all   stack device pair
    "compute":   (0.25, 0.25, 0.25, 0.15),
    "attention": (0.40, 0.30, 0.20, 0.20),
    "stream":    (0.40, 0.40, 0.20, 0.00),
    "head":      (0.40, 0.40, 0.00, 0.00),
    "tp":        (0.20, 0.20, 0.15, 0.00),
    "cp":        (0.40, 0.40, 0.00, 0.00),
    "ep":        (0.40, 0.40, 0.00, 0.00),
    "dp":        (0.25, 0.25, 0.15, 0.10),
    "pp":        (0.20, 0.20, 0.00, 0.00),
    "host":      (0.25, 0.25, 0.10, 0.00),
    "update":    (0.25, 0.25, 0.00, 0.00),
    "overlap":   (0.20, 0.20, 0.00, 0.00),
}  # fmt: skip
"""How far a log scale is expected to lie from 0: for all steps, and further for one stack, one device, and one stack on
one architecture (kernels that were or were not yet written for it). 0: not fitted."""

SPREADS = np.array([_SPREADS[kind] for kind in KINDS]).T

OWN_SPREADS = np.array([[0.4], [0.3], [0.3], [0.3]]) * np.ones(len(KINDS))
"""The same for one owner's machines, beside what others' gave: all, one stack, one device, one size of cluster."""

NOISE = 0.08
"""What measurements of the same thing scatter by (SOURCES: 1 to 2 % on one machine, 5 to 10 % between vendors)."""

HUBER = 0.12
STEP = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Steps that were measured: ingredients and seconds, the stack, device, and stack on architecture, and a weight."""

    parts: Ingredients
    seconds: Array
    stacks: tuple[str, ...]
    devices: tuple[str, ...]
    pairs: tuple[str, ...]
    weights: Array

    def take(self, index: Array) -> Measured:
        """Some of them."""
        return Measured(
            parts=pick(self.parts, index),
            seconds=self.seconds[index],
            stacks=tuple(self.stacks[i] for i in index),
            devices=tuple(self.devices[i] for i in index),
            pairs=tuple(self.pairs[i] for i in index),
            weights=self.weights[index],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """Log scales by kind: of all steps, and further by stack, by device, and by stack on architecture."""

    everywhere: Array = field(default_factory=lambda: np.zeros(len(KINDS)))
    by_stack: Mapping[str, Array] = field(default_factory=dict)
    by_device: Mapping[str, Array] = field(default_factory=dict)
    by_pair: Mapping[str, Array] = field(default_factory=dict)

    def of(self, stack: str, device: str, pair: str) -> Array:
        """Log scales of a step by kind. What nobody measured adds nothing to those of all."""
        none = np.zeros(len(KINDS))
        answer: Array = (
            self.everywhere
            + self.by_stack.get(stack, none)
            + self.by_device.get(device, none)
            + self.by_pair.get(pair, none)
        )
        return answer

    def of_all(self, measured: Measured) -> Array:
        """Log scales of many steps: (steps, kinds)."""
        rows = [self.of(*names) for names in zip(measured.stacks, measured.devices, measured.pairs, strict=True)]
        return np.array(rows).reshape(len(rows), len(KINDS))


def predict(parts: Ingredients, log_scales: Array) -> Array:
    """Seconds of each step with its ingredients scaled; ``log_scales``: (steps, kinds)."""
    scales = np.exp(log_scales)
    return compose(parts, Scales(**{kind: scales[:, i] for i, kind in enumerate(KINDS)})).step_s


def slopes(parts: Ingredients, log_scales: Array, kinds: Sequence[int], at: Array) -> Array:
    """d log seconds / d log scale by kind, by finite differences: (steps, kinds)."""
    answer = np.zeros_like(log_scales)
    for kind in kinds:
        moved = log_scales.copy()
        moved[:, kind] += STEP
        answer[:, kind] = np.log(predict(parts, moved) / at) / STEP
    return answer


def huber_weights(residuals: Array, weights: Array) -> Array:
    """Weights of the rows of a least-squares step: full within HUBER, falling as 1 / residual beyond."""
    return weights * np.minimum(1.0, HUBER / np.maximum(np.abs(residuals), 1e-9)) / NOISE**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Where a fit starts, what it adds to (log scales of each row), and how far it may go."""

    start: Corrections = field(default_factory=Corrections)
    base: Array | None = None
    spreads: Array = field(default_factory=lambda: SPREADS)


def fit(measured: Measured, n_rounds: int = 8, prior: Prior | None = None) -> Corrections:
    """Corrections of everything, every stack, every device and every pair that the measurements name."""
    prior = prior or Prior()
    groups = (measured.stacks, measured.devices, measured.pairs)
    layout = _Layout(names=tuple(tuple(sorted(set(group))) for group in groups), spreads=prior.spreads)
    theta = layout.pack(prior.start)
    places = layout.places(groups)
    base = 0.0 if prior.base is None else prior.base
    for _ in range(n_rounds):
        log_scales = base + theta[places].sum(axis=1)
        at = predict(measured.parts, log_scales)
        residuals = np.log(measured.seconds / at)
        each = slopes(measured.parts, log_scales, range(len(KINDS)), at)
        theta = theta + _newton(layout, places, each, residuals, (huber_weights(residuals, measured.weights), theta))
    return layout.unpack(theta)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where each constant lies in one long vector: all, then stacks, devices and pairs, kinds inside."""

    names: tuple[tuple[str, ...], ...]
    spreads: Array

    @property
    def spread(self) -> Array:
        return np.concatenate(
            [self.spreads[0], *(np.tile(self.spreads[1 + i], len(names)) for i, names in enumerate(self.names))]
        )

    def places(self, groups: tuple[tuple[str, ...], ...]) -> Array:
        """Indices of the constants behind each log scale: (steps, 4, kinds)."""
        rows, before = [np.zeros(len(groups[0]), dtype=int)], 1
        for names, group in zip(self.names, groups, strict=True):
            index = {name: i for i, name in enumerate(names)}
            rows.append(np.array([before + index[name] for name in group], dtype=int))
            before += len(names)
        places: Array = np.stack(rows, axis=1)[:, :, None] * len(KINDS) + np.arange(len(KINDS))
        return places

    def pack(self, corrections: Corrections) -> Array:
        none = np.zeros(len(KINDS))
        known = (corrections.by_stack, corrections.by_device, corrections.by_pair)
        rows = [table.get(name, none) for table, names in zip(known, self.names, strict=True) for name in names]
        return np.concatenate([corrections.everywhere, *rows])

    def unpack(self, theta: Array) -> Corrections:
        rows = iter(theta.reshape(-1, len(KINDS)))
        everywhere = next(rows)
        stack, device, pair = ({name: next(rows) for name in names} for names in self.names)
        return Corrections(everywhere=everywhere, by_stack=stack, by_device=device, by_pair=pair)


def _newton(layout: _Layout, places: Array, each: Array, residuals: Array, state: tuple[Array, Array]) -> Array:
    """One damped Gauss-Newton step of the whole vector."""
    weights, theta = state
    spread = layout.spread
    free = np.flatnonzero(spread > 0)
    design = np.zeros((len(residuals), len(theta)))
    np.add.at(design, (np.arange(len(residuals))[:, None, None], places), each[:, None, :])
    design = design[:, free]
    weighted = design * weights[:, None]
    normal = weighted.T @ design + np.diag(1.0 / spread[free] ** 2)
    gradient = weighted.T @ residuals - theta[free] / spread[free] ** 2
    step = np.zeros_like(theta)
    step[free] = np.clip(np.linalg.solve(normal, gradient), -0.3, 0.3)
    return step
