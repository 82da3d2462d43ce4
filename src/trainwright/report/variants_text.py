"""Variants beside each other on the terminal: how good, how long, how much memory, and how well predicted."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table

from trainwright.units import format_bytes, format_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantLine:
    """One variant: mean and half-width of its figure (accuracy, or loss), and medians over its runs."""

    name: str
    figure: tuple[float, float]
    is_accuracy: bool
    n_seeds: int
    seconds: float
    step_s: tuple[float, float]
    peak_bytes: tuple[float, float]


def variants_text(lines: Sequence[VariantLine]) -> RenderableType:
    """The table; step and peak memory are predicted and measured."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    figure = "accuracy" if all(line.is_accuracy for line in lines) else "held-out loss"
    for column in ("", f"{figure}, 95 %", "seeds", "run", "step predicted", "measured", "peak predicted", "measured"):
        table.add_column(column, justify="left" if not column else "right")
    for line in lines:
        mean, half = line.figure
        written = f"{100 * mean:.1f} ± {100 * half:.1f} %" if line.is_accuracy else f"{mean:.3f} ± {half:.3f}"
        table.add_row(
            line.name,
            written,
            str(line.n_seeds),
            format_seconds(line.seconds),
            *(format_seconds(value) for value in line.step_s),
            *(format_bytes(value) for value in line.peak_bytes),
        )
    return table


def median(values: Sequence[float]) -> float:
    """The median; 0 of nothing."""
    return statistics.median(values) if values else 0.0
