"""Constants of stacks and devices from measured steps: a scale for each kind of ingredient.

log scale of a step's ingredient = all + that of each level it belongs to (stack, architecture, device, ...), each
pulled towards 0 by a prior. The measured logarithms are fitted by Gauss-Newton with Huber weights, so that a few odd
rows cannot bend a constant, and what is peculiar to one source is fitted beside and thrown away.
Ignores that two constants may explain the same rows: the prior then shares the blame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.compose import Scales, compose
from trainwright.cost.ingredients import Ingredients, pick

Array = NDArray[Any]
KINDS = tuple(f.name for f in fields(Scales))
"""What may be scaled, in order: the columns of every array of log scales here."""

LEVELS = ("stack", "architecture", "device", "pair", "format")
"""What a constant may belong to, besides all steps: one stack (for one kind of training), devices of one architecture,
one device, one stack on one architecture (kernels that were or were not yet written for it), one device in one format
of numbers (of narrow ones hardly a product was published)."""

_SPREADS = {
    #             all   stack arch. device pair format owner
    "compute":   (0.10, 0.08, 0.08, 0.08, 0.06, 0.08, 0.12),
    "attention": (0.30, 0.40, 0.20, 0.25, 0.30, 0.00, 0.20),
    "stream":    (0.40, 0.80, 0.30, 0.35, 0.00, 0.00, 0.20),
    "head":      (0.40, 0.80, 0.00, 0.00, 0.00, 0.00, 0.20),
    "tp":        (0.10, 0.20, 0.10, 0.12, 0.00, 0.00, 0.20),
    "cp":        (0.20, 0.40, 0.00, 0.00, 0.00, 0.00, 0.20),
    "ep":        (0.20, 0.80, 0.00, 0.00, 0.00, 0.00, 0.20),
    "dp":        (0.12, 0.25, 0.10, 0.12, 0.10, 0.00, 0.20),
    "pp":        (0.10, 0.20, 0.00, 0.00, 0.00, 0.00, 0.20),
    "host":      (0.12, 0.25, 0.05, 0.06, 0.00, 0.00, 0.20),
    "update":    (0.12, 0.25, 0.00, 0.00, 0.00, 0.00, 0.20),
    "overlap":   (0.10, 0.20, 0.00, 0.00, 0.00, 0.00, 0.20),
}  # fmt: skip
"""How far a log scale is expected to lie from 0: for all steps, further at each level, and for what is peculiar to one
source. Products are priced from measured curves, so little is left to learn of them; how often a stack writes to
memory, and what its experts exchange, differs from one to the next. 0: not fitted."""

_WIDTHS = np.array([_SPREADS[kind] for kind in KINDS]).T
SPREADS, OWNER_SPREADS = _WIDTHS[:-1], _WIDTHS[-1:]

OWN_SPREADS = np.array([[0.4], [0.3], [0.3], [0.3]]) * np.where(np.array(KINDS) == "compute", 0.5, 1.0)
"""The same for one owner's machines, beside what others' gave: all, one stack, one device, one size of cluster."""

NOISE = 0.08
"""What measurements of the same thing scatter by (SOURCES: 1 to 2 % on one machine, 5 to 10 % between vendors)."""

HUBER = 0.12
STEP = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Steps that were measured: ingredients and seconds, their names at each level of constants, and a weight.

    ``owners``, where given: who measured. What is peculiar to one of them is fitted beside the constants and left out
    of the answer, so that a stack that one source alone measured does not take over all that is odd about it.
    """

    parts: Ingredients
    seconds: Array
    names: tuple[tuple[str, ...], ...]
    weights: Array
    owners: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The names at each level, and the owners where there are any."""
        return (*self.names, self.owners) if self.owners else self.names

    def take(self, index: Array) -> Measured:
        """Some of them."""
        return Measured(
            parts=pick(self.parts, index),
            seconds=self.seconds[index],
            names=tuple(tuple(level[i] for i in index) for level in self.names),
            weights=self.weights[index],
            owners=tuple(self.owners[i] for i in index) if self.owners else (),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """Log scales by kind: of all steps, and further by the names of each level."""

    everywhere: Array = field(default_factory=lambda: np.zeros(len(KINDS)))
    by_level: tuple[Mapping[str, Array], ...] = ()

    def of(self, names: Sequence[str]) -> Array:
        """Log scales of a step by kind, given its name at each level. What nobody measured adds nothing."""
        none = np.zeros(len(KINDS))
        further = (table.get(name, none) for table, name in zip(self.by_level, names, strict=True))
        answer: Array = sum(further, start=self.everywhere)
        return answer

    def of_all(self, measured: Measured) -> Array:
        """Log scales of many steps: (steps, kinds)."""
        rows = [self.of(names) for names in zip(*measured.names, strict=True)]
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


def huber_losses(residuals: Array, weights: Array) -> Array:
    """Half the squares of residuals within HUBER, growing as the residual beyond."""
    size = np.abs(residuals)
    answer: Array = weights * np.where(size < HUBER, 0.5 * size**2, HUBER * (size - 0.5 * HUBER)) / NOISE**2
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Where a fit starts, what it adds to (log scales of each row), and how far it may go."""

    start: Corrections = field(default_factory=Corrections)
    base: Array | None = None
    spreads: Array = field(default_factory=lambda: SPREADS)


def fit(measured: Measured, n_rounds: int = 16, prior: Prior | None = None) -> Corrections:
    """Corrections of everything, and of every name at every level of the measurements."""
    prior = prior or Prior()
    spreads = np.vstack([prior.spreads, OWNER_SPREADS]) if measured.owners else prior.spreads
    layout = _Layout(names=tuple(tuple(sorted(set(level))) for level in measured.groups), spreads=spreads)
    theta = layout.pack(prior.start)
    places = layout.places(measured.groups)
    base = 0.0 if prior.base is None else prior.base
    inverse = layout.precision

    def misfit(theta: Array) -> tuple[float, Array, Array]:
        """What is minimized, the log scales of each row, and what is predicted with them."""
        log_scales = base + theta[places].sum(axis=1)
        at = predict(measured.parts, log_scales)
        lost = huber_losses(np.log(measured.seconds / at), measured.weights)
        return float(lost.sum() + 0.5 * np.sum(inverse * theta**2)), log_scales, at

    best, log_scales, at = misfit(theta)
    for _ in range(n_rounds):
        residuals = np.log(measured.seconds / at)
        each = slopes(measured.parts, log_scales, range(len(KINDS)), at)
        step = _newton(layout, places, each, residuals, (huber_weights(residuals, measured.weights), theta))
        before = best
        for share in HALVINGS:
            found = misfit(theta + share * step)
            if found[0] < best:
                theta, (best, log_scales, at) = theta + share * step, found
                break
        if best > before * (1.0 - ENOUGH):
            break
    return layout.unpack(theta, len(measured.names))


HALVINGS = (1.0, 0.5, 0.25, 0.125)
"""Shares of a step tried until the misfit falls: what overlaps makes it bend more than Gauss and Newton assume."""

ENOUGH = 1e-4
"""A round that lowers the misfit by a smaller share is the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where each constant lies in one long vector: all, then each level's names, kinds inside."""

    names: tuple[tuple[str, ...], ...]
    spreads: Array

    @property
    def spread(self) -> Array:
        return np.concatenate(
            [self.spreads[0], *(np.tile(self.spreads[1 + i], len(names)) for i, names in enumerate(self.names))]
        )

    @property
    def precision(self) -> Array:
        """1 / spread^2 of each constant; 0 of those that are not fitted."""
        answer: Array = np.where(self.spread > 0, 1.0 / np.maximum(self.spread, 1e-9) ** 2, 0.0)
        return answer

    def places(self, groups: tuple[tuple[str, ...], ...]) -> Array:
        """Indices of the constants behind each log scale: (steps, 1 + levels, kinds)."""
        rows, before = [np.zeros(len(groups[0]), dtype=int)], 1
        for names, group in zip(self.names, groups, strict=True):
            index = {name: i for i, name in enumerate(names)}
            rows.append(np.array([before + index[name] for name in group], dtype=int))
            before += len(names)
        places: Array = np.stack(rows, axis=1)[:, :, None] * len(KINDS) + np.arange(len(KINDS))
        return places

    def pack(self, corrections: Corrections) -> Array:
        none = np.zeros(len(KINDS))
        known = (*corrections.by_level, *({} for _ in self.names))[: len(self.names)]
        rows = [table.get(name, none) for table, names in zip(known, self.names, strict=True) for name in names]
        return np.concatenate([corrections.everywhere, *rows])

    def unpack(self, theta: Array, n_levels: int) -> Corrections:
        rows = iter(theta.reshape(-1, len(KINDS)))
        everywhere = next(rows)
        levels = tuple({name: next(rows) for name in names} for names in self.names[:n_levels])
        return Corrections(everywhere=everywhere, by_level=levels)


def _newton(layout: _Layout, places: Array, each: Array, residuals: Array, state: tuple[Array, Array]) -> Array:
    """One damped Gauss-Newton step of the whole vector.

    Solves (J^T W J + 1 / spread^2) step = J^T W residuals - theta / spread^2 by conjugate gradients: a row of J has a
    slope for each kind at each level and nothing else.
    """
    weights, theta = state
    precision = layout.precision
    free = precision > 0
    flat, size = places.ravel(), len(theta)

    def spread_out(values: Array) -> Array:
        """J^T values."""
        shares = np.broadcast_to((values[:, None] * each)[:, None, :], places.shape)
        answer: Array = np.bincount(flat, shares.ravel(), size)
        answer[~free] = 0.0
        return answer

    def normal(x: Array) -> Array:
        along = np.sum(x[places] * each[:, None, :], axis=(1, 2))
        pushed: Array = spread_out(weights * along) + precision * x
        return pushed

    squares = np.broadcast_to((weights[:, None] * each**2)[:, None, :], places.shape).ravel()
    diagonal = np.bincount(flat, squares, size) + np.where(free, precision, 1.0)
    step = conjugate_gradients(normal, spread_out(weights * residuals) - precision * theta, diagonal)
    damped: Array = np.clip(step, -0.3, 0.3)
    return damped


def conjugate_gradients(normal: Callable[[Array], Array], target: Array, diagonal: Array) -> Array:
    """x with normal(x) = target, for a symmetric positive ``normal`` with this diagonal.

    Source: Hestenes and Stiefel, J. Res. NBS 49(6), 1952, preconditioned by the diagonal.

    >>> a = np.array([[4.0, 1.0], [1.0, 3.0]])
    >>> conjugate_gradients(lambda x: a @ x, np.array([1.0, 2.0]), np.diag(a)).round(4)
    array([0.0909, 0.6364])
    """
    x = np.zeros_like(target)
    left = target.copy()
    scaled = left / diagonal
    way, size = scaled.copy(), float(left @ scaled)
    goal = 1e-5 * size
    for _ in range(MOST_ROUNDS):
        if size <= goal:
            break
        pushed = normal(way)
        reach = size / float(way @ pushed)
        x, left = x + reach * way, left - reach * pushed
        scaled = left / diagonal
        size, before = float(left @ scaled), size
        way = scaled + size / before * way
    return x


MOST_ROUNDS = 400
