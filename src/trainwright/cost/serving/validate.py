"""Predictions of serving laid beside published measurements, in the three ways of training's (cost/validate.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.interval import residual_bounds
from trainwright.cost.published.row import read_rows
from trainwright.cost.published.serving import SERVING_COLUMNS, ServingCase, serving_cases
from trainwright.cost.score import Score, score
from trainwright.cost.serving.calibration import (
    KINDS,
    OWN_SPREADS,
    Corrections,
    MeasuredPasses,
    fit,
    laid_out,
    names_of,
    predict,
)
from trainwright.cost.serving.corrections import shipped
from trainwright.cost.validate import FOLDS, By, Validation, Way, folds_of

Array = NDArray[Any]
ROWS_OF_A_SOURCE = 40.0
"""Beyond so many figures a source gains no more weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """Cases with their passes as arrays, and why other rows tell nothing."""

    cases: tuple[ServingCase, ...]
    measured: MeasuredPasses
    refused: Counter[str]


def lay(paths: Iterable[Path]) -> Laid:
    """The cases of tables of serving measurements, priced."""
    found = [each for path in paths for each in serving_cases(read_rows(path, SERVING_COLUMNS))]
    cases = tuple(each for each in found if isinstance(each, ServingCase))
    parts, counts = laid_out([case.passes for case in cases])
    n_rows = Counter(case.source for case in cases)
    measured = MeasuredPasses(
        parts=parts,
        counts=counts,
        seconds=np.array([case.seconds for case in cases]),
        weights=np.array(
            [min(1.0, ROWS_OF_A_SOURCE / n_rows[case.source]) * (1.0 if case.is_full else 0.3) for case in cases]
        ),
        names=tuple(names_of(case.replica) for case in cases),
    )
    return Laid(cases=cases, measured=measured, refused=Counter(each for each in found if isinstance(each, str)))


def blind_scales(laid: Laid) -> Array:
    """Log scales of each figure from other sources only."""
    sources = np.array([case.source for case in laid.cases])
    answer = np.zeros((len(sources), len(KINDS)))
    for source in sorted(set(sources.tolist())):
        mine, others = np.flatnonzero(sources == source), np.flatnonzero(sources != source)
        found = fit(laid.measured.take(others)) if len(others) else Corrections()
        answer[mine] = found.of_all([laid.measured.names[i] for i in mine])
    return answer


def calibrated_scales(laid: Laid, blind: Array) -> Array:
    """Log scales of each figure with those of its source's other folds added; a group of like rows is in one fold.

    One owner has several machines: one engine, one device, one way of measuring each get their own share.
    """
    sources, groups = np.array([case.source for case in laid.cases]), [case.group for case in laid.cases]
    fold_of = folds_of(groups)
    own_names = tuple(
        (f"{names[0]} {case.replica.stored.name}", names[1], f"{names[0]} {case.what}")
        for case, names in zip(laid.cases, laid.measured.names, strict=True)
    )
    measured = MeasuredPasses(
        parts=laid.measured.parts,
        counts=laid.measured.counts,
        seconds=laid.measured.seconds,
        weights=np.ones(len(sources)),
        names=own_names,
    )
    answer = blind.copy()
    for source in sorted(set(sources.tolist())):
        rows = np.flatnonzero(sources == source)
        for fold in range(FOLDS):
            judged, learned = rows[fold_of[rows] == fold], rows[fold_of[rows] != fold]
            if len(judged) and len(learned):
                own = fit(measured.take(learned), base=blind[learned], spreads=OWN_SPREADS)
                answer[judged] = blind[judged] + own.of_all([own_names[i] for i in judged])
    return answer


def scales_for(way: Way, laid: Laid) -> Array:
    """Log scales of each figure by this way of judging."""
    if way == "shipped":
        return shipped().of_all(laid.measured.names)
    blind = blind_scales(laid)
    return blind if way == "blind" else calibrated_scales(laid, blind)


def validate_serving(paths: Iterable[Path], way: Way = "shipped", by: By = "source") -> Validation:
    """Score every figure of tables of serving measurements."""
    laid = lay(paths)
    predicted = predict(laid.measured, scales_for(way, laid))
    bounds = bounds_of(laid, predicted)
    names = np.array([_name(case, by) for case in laid.cases])
    groups = {
        str(name): score_of(np.flatnonzero(names == name), laid, predicted, bounds) for name in sorted(set(names))
    }
    return Validation(
        way=way,
        by=by,
        overall=score_of(np.arange(len(names)), laid, predicted, bounds),
        groups=groups,
        median_of_medians=float(np.median([one.median for one in groups.values()])),
        n_used=len(laid.cases),
        refused=dict(laid.refused),
    )


def _name(case: ServingCase, by: By) -> str:
    if by == "strategy":
        return f"{case.what}, {case.replica.stack.name}, {case.replica.describe()}"
    return case.source if by == "source" else case.replica.device.name


def score_of(rows: Array, laid: Laid, predicted: Array, bounds: tuple[Array, Array]) -> Score:
    """The score of some figures."""
    groups = [laid.cases[i].group + laid.cases[i].what for i in rows]
    return score(predicted[rows], laid.measured.seconds[rows], groups, (bounds[0][rows], bounds[1][rows]))


def bounds_of(laid: Laid, predicted: Array) -> tuple[Array, Array]:
    """80 % intervals of each figure from the residuals of other sources."""
    sources = np.array([case.source for case in laid.cases])
    residuals = np.log(laid.measured.seconds / predicted)
    low, high = np.zeros(len(sources)), np.zeros(len(sources))
    for source in set(sources.tolist()):
        mine = sources == source
        span = residual_bounds(residuals[~mine], laid.measured.weights[~mine]) if (~mine).any() else (-0.5, 0.5)
        low[mine], high[mine] = predicted[mine] * np.exp(span[0]), predicted[mine] * np.exp(span[1])
    return low, high
