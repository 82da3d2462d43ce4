"""Predictions laid beside published measurements, in three ways, none of which fits a row that it judges.

``shipped``: with the constants of data/corrections.toml, as a user of this version gets (they were fitted on most of
these rows). ``blind``: with constants fitted on other sources only, as a user with a new cluster gets. ``calibrated``:
on top of those, constants of the source's own machine fitted on its other rows, in folds by model and batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.calibration import (
    KINDS,
    LEVELS,
    OWN_SPREADS,
    Corrections,
    Measured,
    Prior,
    fit,
    huber_losses,
    predict,
)
from trainwright.cost.corrections import correction_names, shipped
from trainwright.cost.ingredients import ingredients, join
from trainwright.cost.interval import regime, residual_bounds
from trainwright.cost.published.case import Case, case_of
from trainwright.cost.published.row import read_rows
from trainwright.cost.score import Score, score
from trainwright.cost.setting import setting
from trainwright.cost.validate_memory import MemoryValidation, validate_memory

Array = NDArray[Any]
Way = Literal["shipped", "blind", "calibrated"]
By = Literal["source", "device", "strategy"]

ROWS_OF_A_SOURCE = 20.0
"""Beyond so many rows, a source gains no more weight: one large table must not set everybody's constants."""

OTHER_WEIGHT = 0.4
"""Weight of what is not a dense decoder."""

DOUBTFUL_WEIGHT = 0.2
"""Weight of rows whose figures do not add up."""

GOLDEN = Path(__file__).parent / "data" / "golden.csv"
"""Points of papers' tables that ship with Trainwright, each cited."""

FOLDS = 5
LARGE = 40
SMALL_FOLDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Scores by group, the median over groups of their medians, what was refused and why; memory's."""

    way: Way
    by: By
    overall: Score
    groups: dict[str, Score]
    median_of_medians: float
    n_used: int
    refused: dict[str, int]
    memory: MemoryValidation | None = None

    @property
    def refused_share(self) -> float:
        """Share of rows not used."""
        n_refused = sum(self.refused.values())
        return n_refused / max(n_refused + self.n_used, 1)


def read_cases(paths: Iterable[Path]) -> tuple[list[Case], Counter[str]]:
    """The cases of tables of measurements, and how many rows were refused for which reason."""
    cases, refused = [], Counter[str]()
    for path in paths:
        for row in read_rows(path):
            case = case_of(row)
            if isinstance(case, Case):
                cases.append(case)
            else:
                refused[case] += 1
    return cases, refused


def measure(cases: Sequence[Case]) -> Measured:
    """The cases that were timed, priced."""
    n_rows = Counter(case.source for case in cases)
    names = [correction_names(case.stack, case.device, case.kind, case.strategy.precision) for case in cases]
    parts = [
        ingredients(setting(case.model, case.timed, case.strategy, case.cluster.groups[0], case.stack))
        for case in cases
    ]
    weights = [_weight(case, n_rows[case.source]) for case in cases]
    return Measured(
        parts=join(parts),
        seconds=np.array([case.step_s for case in cases]),
        names=tuple(zip(*names, strict=True)),
        weights=np.array(weights),
        owners=tuple(case.source for case in cases),
    )


def _weight(case: Case, n_rows: int) -> float:
    kind = 1.0 if case.kind == "dense" else OTHER_WEIGHT
    return min(1.0, ROWS_OF_A_SOURCE / n_rows) * kind * (1.0 if case.adds_up else DOUBTFUL_WEIGHT)


def blind_scales(measured: Measured, sources: Array, everything: Corrections | None = None) -> Array:
    """Log scales of each row from other sources only: large sources one at a time, small ones some at once."""
    start = everything or fit(measured)
    counts = Counter(sources.tolist())
    large = [[name] for name, n in counts.items() if n >= LARGE]
    small = sorted(name for name, n in counts.items() if n < LARGE)
    folds = large + [small[i::SMALL_FOLDS] for i in range(SMALL_FOLDS) if small[i::SMALL_FOLDS]]
    answer = np.zeros((len(sources), len(KINDS)))
    for fold in folds:
        inside = np.isin(sources, fold)
        if inside.all():
            continue
        others = fit(measured.take(np.flatnonzero(~inside)), n_rounds=8, prior=Prior(start=start))
        answer[inside] = others.of_all(measured.take(np.flatnonzero(inside)))
    return answer


def calibrated_scales(measured: Measured, cases: Sequence[Case], blind: Array) -> Array:
    """Log scales of each row with those of its source's other folds added; folds are whole groups.

    A source may own several machines: one stack, one device, one node or many each get their own share.
    """
    sources, groups = np.array([case.source for case in cases]), np.array([case.group for case in cases])
    answer = blind.copy()
    fold_of = folds_of(groups.tolist())
    sizes = tuple("many" if case.cluster.n_devices > 8 else "one node" for case in cases)
    own_names = tuple(measured.names[LEVELS.index(level)] for level in ("stack", "device"))
    mine = replace(measured, names=(*own_names, sizes), weights=np.ones(len(cases)), owners=())
    for source in sorted(set(sources.tolist())):
        rows = np.flatnonzero(sources == source)
        for fold in range(FOLDS):
            judged, learned = rows[fold_of[rows] == fold], rows[fold_of[rows] != fold]
            if len(judged) and len(learned):
                width = own_width(mine.take(learned), blind[learned], groups[learned])
                own = _own(mine.take(learned), blind[learned], width)
                answer[judged] = blind[judged] + own.of_all(mine.take(judged))
    return answer


OWN_WIDTHS = (1.0, 0.35)
"""By what the expected size of a source's own scales is multiplied: few rows of many kinds bear small ones only."""

INNER_FOLDS, MOST_INNER_ROWS = 3, 100


def own_width(learned: Measured, blind: Array, groups: Array) -> float:
    """How far a source's own scales may go: the width that judges parts of the rows learned from best by the others."""
    if len(learned.seconds) > MOST_INNER_ROWS:
        return OWN_WIDTHS[0]
    parts = folds_of(groups.tolist(), INNER_FOLDS)
    lost = dict.fromkeys(OWN_WIDTHS, 0.0)
    for fold in sorted(set(parts.tolist())):
        inside, outside = np.flatnonzero(parts == fold), np.flatnonzero(parts != fold)
        if not len(outside):
            continue
        judged = learned.take(inside)
        for width in OWN_WIDTHS:
            scales = blind[inside] + _own(learned.take(outside), blind[outside], width).of_all(judged)
            residuals = np.log(judged.seconds / predict(judged.parts, scales))
            lost[width] += float(huber_losses(residuals, judged.weights).sum())
    return min(OWN_WIDTHS, key=lambda width: lost[width])


def _own(learned: Measured, blind: Array, width: float) -> Corrections:
    return fit(learned, prior=Prior(base=blind, spreads=OWN_SPREADS * width))


def folds_of(groups: Sequence[str], n_folds: int = FOLDS) -> Array:
    """A fold for each row: the same for all rows of a group, and even over a source's groups."""
    names = sorted(set(groups))
    order = np.random.default_rng(0).permutation(len(names))
    fold = {name: int(place) % n_folds for name, place in zip(names, order, strict=True)}
    return np.array([fold[name] for name in groups])


_BY: dict[By, Callable[[Case], str]] = {
    "source": lambda case: case.source,
    "device": lambda case: case.device.name,
    "strategy": lambda case: strategy_kind(case),
}


def strategy_kind(case: Case) -> str:
    """The axes a case uses, as in "dp+tp+pp, full recompute"."""
    used = [axis for axis in ("dp", "tp", "cp", "pp", "ep") if getattr(case.strategy, axis) > 1]
    sharded = f" zero{case.strategy.zero_stage}" if case.strategy.zero_stage else ""
    return f"{'+'.join(used) or 'one device'}{sharded}, {case.strategy.recompute} recompute"


def scales_for(way: Way, measured: Measured, cases: Sequence[Case]) -> Array:
    """Log scales of each row by this way of judging."""
    if way == "shipped":
        return shipped().of_all(measured)
    sources = np.array([case.source for case in cases])
    blind = blind_scales(measured, sources)
    return blind if way == "blind" else calibrated_scales(measured, cases, blind)


def validate(paths: Iterable[Path], way: Way = "shipped", by: By = "source") -> Validation:
    """Score every timed row of the tables."""
    cases, refused = read_cases(paths)
    timed = [case for case in cases if case.step_s is not None]
    measured = measure(timed)
    predicted = predict(measured.parts, scales_for(way, measured, timed))
    bounds = bounds_of(timed, predicted, measured.seconds)
    names = np.array([_BY[by](case) for case in timed])
    groups = {name: _score(np.flatnonzero(names == name), timed, predicted, bounds) for name in sorted(set(names))}
    return Validation(
        way=way,
        by=by,
        overall=_score(np.arange(len(timed)), timed, predicted, bounds),
        groups=groups,
        median_of_medians=float(np.median([one.median for one in groups.values()])),
        n_used=len(cases),
        refused=dict(refused),
        memory=validate_memory(cases, [_BY[by](case) for case in cases]),
    )


def _score(rows: Array, cases: Sequence[Case], predicted: Array, bounds: tuple[Array, Array]) -> Score:
    measured = np.array([cases[i].step_s for i in rows])
    return score(predicted[rows], measured, [cases[i].group for i in rows], (bounds[0][rows], bounds[1][rows]))


def bounds_of(cases: Sequence[Case], predicted: Array, seconds: Array) -> tuple[Array, Array]:
    """Intervals of each row from the residuals of other sources in the same regime."""
    sources = np.array([case.source for case in cases])
    regimes = np.array([regime(case.kind, case.cluster.n_devices, known=True) for case in cases])
    counts = Counter(sources.tolist())
    weights = np.array([1.0 / counts[name] for name in sources.tolist()])
    residuals = np.log(seconds / predicted)
    low, high = np.zeros(len(cases)), np.zeros(len(cases))
    for source in counts:
        mine = sources == source
        for name in set(regimes[mine].tolist()):
            others = (regimes == name) & ~mine
            others = others if others.any() else ~mine
            span = residual_bounds(residuals[others], weights[others]) if others.any() else (-0.5, 0.5)
            here = mine & (regimes == name)
            low[here], high[here] = predicted[here] * np.exp(span[0]), predicted[here] * np.exp(span[1])
    return low, high
