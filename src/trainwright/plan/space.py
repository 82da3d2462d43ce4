"""Every legal way to divide a step, as tables: counts in arrays, one table for each combination of choices.

Duplicates are left out (a pipeline schedule without a pipeline, orders of axes that place no rank differently), and so
is what cannot win: ``gpipe`` (the bubble of 1f1b with more memory) enters only when pinned. ``finer`` axes are dropped
one by one where the space would grow past its limit, and the answer says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Axis, Strategy
from trainwright.plan.facts import Facts
from trainwright.plan.family import Crossing, Family, Option, Rows
from trainwright.plan.legal import NUMERIC, RULES, broken_by, legal_rows
from trainwright.plan.pins import Pin, allowed, pinned_values
from trainwright.plan.scope import FINER, LADDER, Scope

TABLE_ROWS = 2_000
"""What a table costs beside its rows, in rows."""

FAMILY_ROWS = 65_536
"""Rows of a family written out at once: what bounds the memory of a search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Families of candidates, how many candidates there are in all, and what was left out."""

    families: tuple[Family, ...]
    n_candidates: int
    left_out: tuple[str, ...] = ()

    @property
    def tables(self) -> Iterator[Strategy]:
        """Every candidate, in one table for each family and placement."""
        for family in self.families:
            places = family.crossing.places()
            for placed in family.placed:
                rows = np.flatnonzero(placed.n[places.base])
                yield replace(family.crossing.written(places.take(rows)), **placed.choices)


def row(table: Strategy, index: int) -> Strategy:
    """One row as a strategy of plain numbers."""
    columns = {axis: getattr(table, axis) for axis in NUMERIC}
    picked = {axis: int(column[index]) for axis, column in columns.items() if isinstance(column, np.ndarray)}
    return replace(table, **picked)  # type: ignore[arg-type]


def n_rows(table: Strategy) -> int:
    """Rows of a table of the space."""
    return len(np.atleast_1d(np.asarray(table.dp)))


def divisors(count: int) -> NDArray[np.int64]:
    """All divisors, ascending.

    >>> divisors(12).tolist()
    [1, 2, 3, 4, 6, 12]
    """
    candidates = np.arange(1, count + 1, dtype=np.int64)
    divides: NDArray[np.int64] = candidates[count % candidates == 0]
    return divides


def extend(rows: Rows, axis: str, key: NDArray[np.int64], values_of: Callable[[int], NDArray[np.int64]]) -> Rows:
    """The rows crossed with the values that one more axis may take, which depend on ``key`` alone.

    >>> extend({"dp": np.array([1, 2])}, "mb", np.array([4, 2]), divisors)
    {'dp': array([1, 1, 1, 2, 2]), 'mb': array([1, 2, 4, 1, 2])}
    """
    unique, inverse = np.unique(key, return_inverse=True)
    lists = [values_of(int(value)) for value in unique]
    lengths = np.array([len(values) for values in lists], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    repeats = lengths[inverse]
    index = np.repeat(np.arange(len(key)), repeats)
    within = np.arange(len(index)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    flat = np.concatenate(lists) if lists else np.empty(0, dtype=np.int64)
    return {name: column[index] for name, column in rows.items()} | {axis: flat[starts[inverse][index] + within]}


def base_rows(n_devices: int, scope: Scope) -> Rows:
    """Every dp x tp x cp x pp = n_devices with every micro-batch and ep that divide; pins heeded, rules not yet."""
    degrees, batch = divisors(n_devices), scope.facts.global_batch
    grid = np.meshgrid(*(scope.kept(axis, degrees) for axis in ("tp", "cp", "pp")), indexing="ij")
    tp, cp, pp = (column.ravel() for column in grid)
    whole = n_devices % (tp * cp * pp) == 0
    rows: Rows = {"tp": tp[whole], "cp": cp[whole], "pp": pp[whole]}
    rows["dp"] = n_devices // (rows["tp"] * rows["cp"] * rows["pp"])
    rows = _filter(rows, np.isin(rows["dp"], scope.kept("dp", degrees)))
    experts = scope.facts.n_experts
    rows = extend(rows, "ep", rows["dp"] * rows["cp"], lambda n: scope.kept("ep", divisors(gcd(n, experts))))
    return extend(rows, "micro_batch", rows["dp"], lambda dp: scope.kept("micro_batch", divisors(max(1, batch // dp))))


def _filter(rows: Rows, mask: NDArray[np.bool_]) -> Rows:
    return {axis: column[mask] for axis, column in rows.items()}


def make_space(facts: Facts, counts: Iterable[int], pins: Iterable[Pin] = (), limit: int | None = None) -> Space:
    """The legal space over the device counts; finer parts are left out, in the order of FINER, to stay in ``limit``.

    A table costs as much to price as some TABLE_ROWS candidates before its first row, and counts so.
    """
    pins, counts = tuple(pins), tuple(counts)
    left_out: list[str] = []
    memo = _Memo(counts=counts, bases={}, options={})
    pieces = list(_pieces(Scope(facts=facts, pins=pins), memo))
    for n_dropped, finer in enumerate(FINER, start=1):
        n_before = sum(piece.n_candidates for piece in pieces)
        if limit is None or n_before + TABLE_ROWS * sum(len(piece.placed) for piece in pieces) <= limit:
            break
        pieces = list(_pieces(Scope(facts=facts, pins=pins, dropped=FINER[:n_dropped]), memo))
        if sum(piece.n_candidates for piece in pieces) < n_before:
            left_out.append(finer.text)
    n_candidates = sum(piece.n_candidates for piece in pieces)
    return Space(families=tuple(_parts(pieces)), n_candidates=n_candidates, left_out=tuple(left_out))


def _parts(families: list[Family]) -> Iterator[Family]:
    """The families, cut by base rows where one is too long; those of the same base rows follow each other."""
    if not families:
        return
    longest = max(int(family.crossing.per_row.sum()) for family in families)
    base = families[0].crossing.base
    step = -(-len(base["dp"]) // -(-longest // FAMILY_ROWS))
    for first in range(0, len(base["dp"]), step):
        some = {axis: column[first : first + step] for axis, column in base.items()}
        for family in families:
            part = family.part(some, first, first + step)
            if part.n_candidates:
                yield part


def _table(rows: Rows, **choices: Any) -> Strategy:
    fields: dict[str, Any] = {**choices, **rows}
    return Strategy(**fields)


GROUPS: tuple[tuple[tuple[str, ...], str | None], ...] = (
    (("schedule",), "virtual_stages"),
    (("zero_stage", "offload"), "shard"),
    (("sequence_parallel",), None),
    (("recompute",), "recompute_every"),
    (("precision",), None),
)
"""Choices with the count that goes with them. No rule of legality looks at two groups, so each is judged alone."""

PLACEMENT = (("cp_kind", "order"), None)
"""The group that memory does not depend on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memo:
    """Bases and options of the cuts made so far: a cut of one axis leaves what hangs on others as it was."""

    counts: tuple[int, ...]
    bases: dict[tuple[str, ...], Rows]
    options: dict[tuple[str, ...], list[Option]]

    def base(self, scope: Scope) -> Rows:
        """The legal base rows over all device counts."""
        key = _cuts(scope, ("cp", "micro_batch"))
        if key not in self.bases:
            parts = [base_rows(count, scope) for count in self.counts]
            rows = {axis: np.concatenate([part[axis] for part in parts]) for axis in parts[0]}
            table = _table(rows, precision=scope.facts.precisions[0])
            self.bases[key] = _filter(rows, legal_rows(table, scope.facts)) if len(rows["dp"]) else rows
        return self.bases[key]

    def options_of(self, group: tuple[tuple[str, ...], str | None], scope: Scope) -> list[Option]:
        """The options of a group."""
        names, axis = group
        key = (*names, *_cuts(scope, ("cp", "micro_batch", *names, axis or "")))
        if key not in self.options:
            self.options[key] = _options(self.base(scope), names, axis, scope)
        return self.options[key]


def _cuts(scope: Scope, axes: tuple[str, ...]) -> tuple[str, ...]:
    """What was left out of these axes."""
    return tuple(finer.text for finer in scope.dropped if finer.axis in axes)


def _pieces(scope: Scope, memo: _Memo) -> Iterator[Family]:
    """Every combination of one option a group that has any candidate."""
    base = memo.base(scope)
    if not len(base["dp"]):
        return
    placed = tuple(memo.options_of(PLACEMENT, scope))
    for options in product(*(memo.options_of(group, scope) for group in GROUPS)):
        family = Family(crossing=Crossing(base=base, options=options), placed=placed)
        if family.n_candidates:
            yield family


def _options(base: Rows, names: tuple[str, ...], axis: str | None, scope: Scope) -> list[Option]:
    """The combinations of one group's choices, each judged by the rules on its own."""
    found = []
    for values in product(*(scope.domain(name) for name in names)):
        choices = dict(zip(names, values, strict=True))
        rows = base | {"index": np.arange(len(base["dp"]))}
        counted = None if choices.get("zero_stage") == 0 else axis
        if counted is not None:
            rows = extend(rows, counted, *_values(counted, choices, rows, scope))
        index = rows.pop("index")
        legal = legal_rows(_table(rows, **({"precision": scope.facts.precisions[0]} | choices)), scope.facts)
        legal &= _distinct(rows, choices, scope)
        n = np.bincount(index[legal], minlength=len(base["dp"])).astype(np.int64)
        column = rows[counted][legal] if counted is not None else index[legal]
        if legal.any():
            found.append(Option(choices=choices, axis=counted, values=column, n=n, start=np.cumsum(n) - n))
    return found


def _values(
    axis: str, choices: dict[str, Any], rows: Rows, scope: Scope
) -> tuple[NDArray[np.int64], Callable[[int], NDArray[np.int64]]]:
    """What an option's count depends on, and its values for that."""
    one = np.ones(1, dtype=np.int64)
    if axis == "virtual_stages":
        interleaved = choices["schedule"] == "interleaved"
        return rows["pp"], lambda pp: scope.kept(axis, _virtual(pp, scope.facts) if interleaved else one)
    if axis == "shard":
        parts = scope.keeps("shard", 0) or pinned_values(scope.pins, "shard") is not None
        return rows["dp"], lambda dp: _shards(dp, scope, parts=parts)
    ladder = np.array(LADDER, dtype=np.int64) if choices["recompute"] != "none" else one
    layers = -(-max(scope.facts.n_layers, 1) // rows["pp"])  # a model of one part: the part is its layer
    return layers, lambda n: scope.kept(axis, ladder[ladder <= n])


def _shards(dp: int, scope: Scope, *, parts: bool) -> NDArray[np.int64]:
    """Ranks that share one copy of the states: all of dp, or any divisor where parts are looked at."""
    if not parts or dp == 1:
        return np.array([dp], dtype=np.int64)
    groups = divisors(dp)[1:]
    allowed_parts = [part for part in groups.tolist() if allowed(scope.pins, "shard", part)]
    return np.array(allowed_parts, dtype=np.int64)


def _virtual(pp: int, facts: Facts) -> NDArray[np.int64]:
    """Virtual stages per device: those that divide the blocks evenly where pp does, else any."""
    values = np.arange(2, max(2, facts.n_layers // pp + 1))
    return values[facts.n_layers % (pp * values) == 0] if facts.n_layers % pp == 0 else values


def _distinct(rows: Rows, choices: dict[str, Any], scope: Scope) -> NDArray[np.bool_]:
    """Rows for which no other combination of choices that is looked at says the same."""
    kept = np.ones(len(rows["dp"]), dtype=np.bool_)
    if choices.get("zero_stage", 0) > 0 and choices["offload"] == "none" and scope.keeps("zero_stage", 0):
        kept &= rows["dp"] * rows["cp"] > 1
    if choices.get("schedule") in ("zero_bubble", "gpipe") and scope.keeps("schedule", "1f1b"):
        kept &= rows["pp"] > 1
    if choices.get("cp_kind", "ring") != "ring" and scope.keeps("cp_kind", "ring"):
        kept &= rows["cp"] > 1
    if "order" in choices:
        orders = scope.domain("order")
        for earlier in orders[: orders.index(choices["order"])]:
            kept &= _places_differ(rows, earlier, choices["order"])
    return kept


def _places_differ(rows: Rows, first: tuple[Axis, ...], second: tuple[Axis, ...]) -> NDArray[np.bool_]:
    """Where two orders put the axes that are longer than one in a different order."""
    differ = np.zeros(len(rows["dp"]), dtype=np.bool_)
    axes = ("tp", "cp", "dp", "pp")
    for i, left in enumerate(axes):
        for right in axes[i + 1 :]:
            if (first.index(left) < first.index(right)) != (second.index(left) < second.index(right)):
                differ |= (rows[left] > 1) & (rows[right] > 1)
    return differ


def why_empty(facts: Facts, counts: Iterable[int], pins: Iterable[Pin] = ()) -> InvalidInputError:
    """The error for an empty space: the pin, or else the rule, that emptied it."""
    pins, counts = tuple(pins), tuple(counts)
    for pin in pins:
        others = tuple(other for other in pins if other is not pin)
        if make_space(facts, counts, others).n_candidates:
            why = _first_refusal(facts, counts, pins)
            return InvalidInputError(
                f"the pin {pin.text!r} leaves no legal strategy on {max(counts)} devices{why}",
                hint=f"without it there are {make_space(facts, counts, others).n_candidates}",
            )
    named = f" with {', '.join(pin.text for pin in pins)}" if pins else ""
    return InvalidInputError(
        f"no legal strategy on {max(counts)} devices{named}{_first_refusal(facts, counts, pins)}",
        hint="change the global batch, or allow fewer devices",
    )


def _first_refusal(facts: Facts, counts: Iterable[int], pins: tuple[Pin, ...]) -> str:
    """The rule that refuses the most of the unfiltered space, with its count."""
    totals: dict[str, int] = {}
    n_all = 0
    for count in counts:
        rows = base_rows(count, Scope(facts=facts, pins=pins))
        n_all += len(rows["dp"])
        if len(rows["dp"]):
            table = _table(rows, precision=facts.precisions[0])
            for rule in RULES:
                totals[rule.reason] = totals.get(rule.reason, 0) + int(broken_by(rule, table, facts).sum())
    if not n_all:
        return ": the degrees do not multiply to that many"
    reason = max(totals, key=lambda name: totals[name])
    return f": {reason} in {totals[reason]} of {n_all} splits"
