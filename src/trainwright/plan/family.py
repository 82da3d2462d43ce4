"""Candidates that share every choice, as base rows crossed with the values of a few counts; written out when asked.

A cost that depends on some of the choices only is priced on the crossing of those, and each candidate knows its row
there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.jobs.strategy import Strategy

Column = NDArray[np.int64]
Rows = dict[str, Column]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One combination of choices of a group, and the values of its count for every base row, end to end.

    Row i of the base has ``n[i]`` values, ``values[start[i]:start[i] + n[i]]``: 0 where a rule or a duplicate forbids.
    """

    choices: dict[str, Any]
    axis: str | None
    values: Column
    n: Column
    start: Column

    def part(self, first: int, last: int) -> Option:
        """The option of some base rows."""
        return replace(self, n=self.n[first:last], start=self.start[first:last])


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Base rows crossed with the values of every option's count: the first option's vary fastest."""

    base: Rows
    options: tuple[Option, ...]

    @property
    def name(self) -> tuple[tuple[str, Any], ...]:
        """The choices, which tell one crossing of a base from another."""
        return tuple(item for option in self.options for item in option.choices.items())

    @property
    def per_row(self) -> Column:
        """Rows that each base row becomes."""
        return reduce(np.multiply, (option.n for option in self.options))

    def places(self) -> Places:
        """The base row of each row, and which value of each count it has."""
        per_row = self.per_row
        base = np.repeat(np.arange(len(per_row)), per_row)
        within = np.arange(len(base)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
        digits: list[Column | None] = []
        for option in self.options:
            many = option.n.max(initial=0) > 1
            n = option.n[base] if many else None
            digits.append(None if n is None else within % n)
            within = within if n is None else within // n
        return Places(base=base, digits=tuple(digits))

    def table(self) -> Strategy:
        """Every row, as a table."""
        return self.written(self.places())

    def written(self, places: Places) -> Strategy:
        """Some rows, as a table."""
        rows = {axis: column[places.base] for axis, column in self.base.items()}
        for option, digit in zip(self.options, places.digits, strict=True):
            if option.axis is not None:
                rows[option.axis] = option.values[option.start[places.base] + (0 if digit is None else digit)]
        return _strategy(rows, dict(self.name))

    def rows_of(self, places: Places, whole: Crossing) -> Column:
        """The rows that stand for those of a crossing of the same base with more options."""
        per_row = self.per_row
        row: Column = (np.cumsum(per_row) - per_row)[places.base]
        stride = np.ones(len(per_row), dtype=np.int64)
        digit_of = {id(option): digit for option, digit in zip(whole.options, places.digits, strict=True)}
        for option in self.options:
            digit = digit_of.get(id(option))
            if digit is not None:
                row = row + digit * stride[places.base]
            stride = stride * option.n
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Rows of a crossing: base row, and place among the values of each option's count (None: it has one at most)."""

    base: Column
    digits: tuple[Column | None, ...]

    def take(self, rows: Column) -> Places:
        """Some of the rows."""
        return Places(base=self.base[rows], digits=tuple(None if d is None else d[rows] for d in self.digits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A crossing that memory tells apart, and how its rows may lie on the network and exchange context.

    ``placed``: one option for each such way; base rows that may lie so have an n of 1. Rows without any are left out.
    """

    crossing: Crossing
    placed: tuple[Option, ...]

    @property
    def n_candidates(self) -> int:
        """Candidates in the family, over all placements."""
        return int(self.crossing.per_row @ reduce(np.add, (option.n for option in self.placed)))

    def of(self, *names: str) -> Crossing:
        """The crossing of the base with those options only that decide one of these choices."""
        options = tuple(option for option in self.crossing.options if option.choices.keys() & set(names))
        return Crossing(base=self.crossing.base, options=options)

    def part(self, base: Rows, first: int, last: int) -> Family:
        """The family of the base rows from ``first`` up to ``last``, which are ``base``."""
        options = tuple(option.part(first, last) for option in self.crossing.options)
        placed = tuple(option.part(first, last) for option in self.placed)
        return Family(crossing=Crossing(base=base, options=options), placed=placed)


def _strategy(rows: Rows, choices: dict[str, Any]) -> Strategy:
    fields: dict[str, Any] = {**choices, **rows}
    return Strategy(**fields)
