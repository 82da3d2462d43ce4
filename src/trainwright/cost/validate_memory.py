"""Predicted peaks of memory beside published ones, and whether what ran was predicted to fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainwright.cost.published.case import Case
from trainwright.cost.score import Score, score


@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """How often fits or does not was right: rows that ran, rows that ran out of memory, and those right of each.

    Only rows that state their recomputation and sharding count; the rest were taken to have done what fits.
    """

    ran: int = 0
    ran_right: int = 0
    failed: int = 0
    failed_right: int = 0

    @property
    def right_share(self) -> float | None:
        """Share of the rows that tell that were right; None without any."""
        n = self.ran + self.failed
        return (self.ran_right + self.failed_right) / n if n else None

    def plus(self, other: Fits) -> Fits:
        """Both counted together.

        >>> Fits(ran=2, ran_right=1).plus(Fits(failed=1, failed_right=1)).right_share
        0.6666666666666666
        """
        return Fits(
            ran=self.ran + other.ran,
            ran_right=self.ran_right + other.ran_right,
            failed=self.failed + other.failed,
            failed_right=self.failed_right + other.failed_right,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryValidation:
    """Scores of peaks by group and over all rows, and of fits or not by group; ``median_of_medians`` over groups."""

    groups: dict[str, Score]
    overall: Score | None
    median_of_medians: float | None
    fits: dict[str, Fits]

    @property
    def all_fits(self) -> Fits:
        """Fits or not over all groups."""
        total = Fits()
        for one in self.fits.values():
            total = total.plus(one)
        return total


def validate_memory(cases: Sequence[Case], names: Sequence[str]) -> MemoryValidation:
    """Score the cases that printed a peak, and those that tell whether they fit; ``names``: the group of each."""
    peaks: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    fits: dict[str, Fits] = defaultdict(Fits)
    for case, name in zip(cases, names, strict=True):
        asked = case.footprint
        if case.peak_bytes is None and not (asked.tells and asked.fits is not None):
            continue
        allocated = asked.allocated(case.model)
        if case.peak_bytes is not None:
            peaks[name].append((asked.as_read(allocated, asked.reading), case.peak_bytes, case.group))
        if asked.fits is not None and (asked.tells or not asked.fits):
            fits[name] = fits[name].plus(_told(case, asked.needed(allocated)))
    groups = {name: _scored(rows) for name, rows in sorted(peaks.items())}
    return MemoryValidation(
        groups=groups,
        overall=_scored([row for rows in peaks.values() for row in rows]) if peaks else None,
        median_of_medians=float(np.median([one.median for one in groups.values()])) if groups else None,
        fits=dict(sorted(fits.items())),
    )


def _scored(rows: Sequence[tuple[float, float, str]]) -> Score:
    predicted, measured, groups = zip(*rows, strict=True)
    return score(np.array(predicted), np.array(measured), list(groups))


def _told(case: Case, needed_bytes: float) -> Fits:
    """One row, counted by whether it ran and whether the prediction said so."""
    said = needed_bytes <= case.device.memory_bytes
    if case.footprint.fits:
        return Fits(ran=1, ran_right=int(said))
    return Fits(failed=1, failed_right=int(not said))
