"""Rooflines drawn with characters, both axes logarithmic: a letter a device, its ridge marked."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainwright.hardware.roofline import LANDMARKS, Roofline
from trainwright.units import format_rate

COLUMNS, LINES = 78, 14
LOW, HIGH = 0.1, 10_000.0
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def roofline_text(roofs: Sequence[Roofline]) -> str:
    """The plot and its legend, at most 100 columns wide."""
    top = max(roof.flop_per_s for roof in roofs)
    floor = min(roof.at(LOW) for roof in roofs)
    grid = [[" "] * COLUMNS for _ in range(LINES)]
    for letter, roof in reversed(list(zip(LETTERS, roofs, strict=False))):
        for column in range(COLUMNS):
            height = math.log(roof.at(_intensity(column)) / floor) / math.log(top / floor)
            grid[LINES - 1 - round(height * (LINES - 1))][column] = letter
    labels = {0: format_rate(top, "FLOP/s"), LINES - 1: format_rate(floor, "FLOP/s")}
    lines = [f"{labels.get(row, ''):>13} |{''.join(cells).rstrip()}" for row, cells in enumerate(grid)]
    return "\n".join([*lines, " " * 14 + "+" + "-" * COLUMNS, _axis(), *_landmarks(), "", *legend(roofs)])


def _intensity(column: int) -> float:
    return LOW * math.pow(HIGH / LOW, column / (COLUMNS - 1))


def _column(flop_per_byte: float) -> int:
    return round(math.log(flop_per_byte / LOW) / math.log(HIGH / LOW) * (COLUMNS - 1))


def _axis() -> str:
    cells = [" "] * (COLUMNS + 5)
    for power in range(-1, 5):
        text = f"{10.0**power:g}"
        cells[_column(10.0**power) : _column(10.0**power) + len(text)] = text
    return f"{'FLOP per byte':>13}  {''.join(cells).rstrip()}"


def _landmarks() -> list[str]:
    return [f"{' ' * (15 + _column(mark.flop_per_byte))}^ {mark.name}" for mark in LANDMARKS]


def legend(roofs: Sequence[Roofline]) -> list[str]:
    """One line a device: its slope, its ceiling, and the intensity where they meet."""
    return [
        f"{letter} {roof.name}: {format_rate(roof.bytes_per_s, 'B/s')}, {format_rate(roof.flop_per_s, 'FLOP/s')} "
        f"{roof.dtype}; memory limits below {roof.ridge_flop_per_byte:.0f} FLOP per byte"
        for letter, roof in zip(LETTERS, roofs, strict=False)
    ]
