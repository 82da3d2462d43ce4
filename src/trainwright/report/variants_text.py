"""Variants beside each other on the terminal: how good, how long, how much memory, and how well predicted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table

from trainwright.units import format_bytes, format_seconds

T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t at 97.5 % for 1, 2, ... degrees of freedom; 1.96 beyond, which is 4 % too narrow at 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantLine:
    """One variant: accuracy (or held-out loss) by seed, its mean and half-width, and medians over its runs."""

    name: str
    by_seed: tuple[float, ...]
    figure: tuple[float, float]
    is_accuracy: bool
    n_seeds: int
    seconds: float
    step_s: tuple[float, float]
    peak_bytes: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """How much better one variant is than another: seed by seed, mean and half-width of its 95 % interval."""

    better: VariantLine
    worse: VariantLine
    mean: float
    half: float

    @property
    def is_apart(self) -> bool:
        """Whether the variants' own intervals do not overlap."""
        distance = abs(self.better.figure[0] - self.worse.figure[0])
        return distance > self.better.figure[1] + self.worse.figure[1]

    @property
    def n_won(self) -> int:
        """Seeds with which the better one was better."""
        sign = 1 if self.better.is_accuracy else -1
        pairs = zip(self.better.by_seed, self.worse.by_seed, strict=True)
        return sum(sign * (one - other) > 0 for one, other in pairs)


def gain(one: VariantLine, other: VariantLine) -> Gain:
    """The better of two variants that ran with the same seeds, and by how much."""
    sign = 1 if one.is_accuracy else -1
    mean, half = interval_95([sign * (a - b) for a, b in zip(one.by_seed, other.by_seed, strict=True)])
    better, worse = (one, other) if mean >= 0 else (other, one)
    return Gain(better=better, worse=worse, mean=abs(mean), half=half)


def gain_text(found: Gain) -> str:
    """A sentence: who is better, by how much, and how sure that is."""
    better, worse, n_seeds = found.better, found.worse, found.better.n_seeds
    unit = "points" if better.is_accuracy else "of loss"
    scale, digits = (100, 1) if better.is_accuracy else (1, 3)
    by = f"{scale * found.mean:.{digits}f} ± {scale * found.half:.{digits}f} {unit}"
    if not found.mean > found.half:
        return f"{better.name} and {worse.name}: no difference shown ({by}, seed by seed)"
    sure = "their intervals are apart" if found.is_apart else "their intervals overlap, the difference's is above 0"
    return f"{better.name} beats {worse.name} by {by}, seed by seed, with {found.n_won} of {n_seeds} seeds; {sure}"


def interval_95(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval (Student's t); infinite for one value.

    >>> mean, half = interval_95([1.0, 2.0, 3.0])
    >>> round(mean, 2), round(half, 2)
    (2.0, 2.48)
    """
    n = len(values)
    mean = statistics.fmean(values)
    if n < 2:
        return mean, math.inf
    t = T_95[n - 2] if n - 2 < len(T_95) else 1.96
    return mean, t * statistics.stdev(values) / math.sqrt(n)


def variants_text(lines: Sequence[VariantLine]) -> RenderableType:
    """The table, step and peak memory predicted and measured; and each variant against the first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    figure = "accuracy" if all(line.is_accuracy for line in lines) else "held-out loss"
    for column in ("", f"{figure}, 95 %", "seeds", "run", "step predicted", "measured", "peak predicted", "measured"):
        table.add_column(column, justify="left" if not column else "right")
    for line in lines:
        mean, half = line.figure
        scale, digits, unit = (100, 1, " %") if line.is_accuracy else (1, 3, "")
        spread = f" ± {scale * half:.{digits}f}" if math.isfinite(half) else ""  # one seed has none
        written = f"{scale * mean:.{digits}f}{spread}{unit}"
        table.add_row(
            line.name,
            written,
            str(line.n_seeds),
            format_seconds(line.seconds),
            *(format_seconds(value) for value in line.step_s),
            *(format_bytes(value) for value in line.peak_bytes),
        )
    alike = [line for line in lines[1:] if line.is_accuracy == lines[0].is_accuracy and line.n_seeds > 1]
    return Group(table, *(["", *(gain_text(gain(line, lines[0])) for line in alike)] if alike else []))


def median(values: Sequence[float]) -> float:
    """The median; 0 of nothing."""
    return statistics.median(values) if values else 0.0
