"""Every legal way to divide a step, as tables: counts in arrays, one table for each combination of choices.

Duplicates are left out (a pipeline schedule without a pipeline, orders of axes that place no rank differently), and so
is what cannot win: ``gpipe`` (the bubble of 1f1b with more memory) enters only when pinned. ``finer`` axes are dropped
one by one where the space would grow past its limit, and the answer says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations, product
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Axis, Strategy
from trainwright.plan.facts import Facts
from trainwright.plan.legal import CHOICES, RULES, broken_by, legal_rows
from trainwright.plan.pins import Pin, allowed, pinned_values

Rows = dict[str, NDArray[np.int64]]

ORDERS: tuple[tuple[Axis, ...], ...] = tuple(
    ("tp", *(axis for name in outer for axis in (("ep", "dp") if name == "dp" else (name,))))
    for outer in permutations(("cp", "dp", "pp"))
)
"""Orders of the axes from the fastest network outwards: tp first, ep beside the dp it lies in."""

LADDER = (1, 2, 3, 4, 6, 8, 12, 16)
"""Every how many blocks recomputation is tried."""

TABLE_ROWS = 2_000
"""What a table costs beside its rows, in rows."""

SHORTEST = 256
"""Tokens of a sample that context parallelism leaves each device before such splits are the first to be left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finer:
    """Values of an axis that may be left out when the space grows too large: which stay, and what to say then."""

    axis: str
    stays: Callable[[Any, Facts], bool]
    text: str


FINER: tuple[Finer, ...] = (
    Finer(axis="cp", stays=lambda v, f: f.seq >= SHORTEST * v or v == 1, text=f"cp below {SHORTEST} tokens a device"),
    Finer(axis="recompute_every", stays=lambda v, f: v <= 4, text="recomputation of every 6th block and fewer"),
    Finer(axis="offload", stays=lambda v, f: v != "parameters", text="offload of parameters"),
    Finer(axis="order", stays=lambda v, f: v in (ORDERS[0], ORDERS[1]), text="orders of axes with cp outside dp or pp"),
    Finer(axis="shard", stays=lambda v, f: v == 0, text="sharding over part of the data-parallel ranks"),
    Finer(axis="recompute_every", stays=lambda v, f: v <= 2, text="recomputation of every 3rd and 4th block"),
    Finer(axis="cp_kind", stays=lambda v, f: v == "ring", text="context parallelism by all-to-all"),
    Finer(axis="offload", stays=lambda v, f: v == "none", text="offload of optimizer states"),
    Finer(axis="micro_batch", stays=lambda v, f: v & (v - 1) == 0, text="micro-batches that are no power of two"),
    Finer(axis="order", stays=lambda v, f: v == ORDERS[0], text="other orders of axes than tp-cp-ep-dp-pp"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Tables of candidates, how many rows they have, and what was left out of them."""

    tables: tuple[Strategy, ...]
    n_candidates: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a space is made of: the facts, the pins, and the finer parts that are left out."""

    facts: Facts
    pins: tuple[Pin, ...]
    dropped: tuple[Finer, ...] = ()

    def keeps(self, axis: str, value: Any) -> bool:
        """Whether a value is looked at; what is pinned is never left out as too fine."""
        if not allowed(self.pins, axis, value):
            return False
        if pinned_values(self.pins, axis) is not None:
            return True
        return all(finer.stays(value, self.facts) for finer in self.dropped if finer.axis == axis)

    def kept(self, axis: str, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """The values of a count that are looked at."""
        return np.array([value for value in values.tolist() if self.keeps(axis, value)], dtype=np.int64)

    def domain(self, axis: str) -> tuple[Any, ...]:
        """The values of a choice that are looked at."""
        pinned = pinned_values(self.pins, axis)
        return pinned if pinned is not None else tuple(v for v in _usual(axis, self.facts) if self.keeps(axis, v))


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


def base_rows(n_devices: int, search: Search) -> Rows:
    """Every dp x tp x cp x pp = n_devices with every micro-batch and ep that divide; pins heeded, rules not yet."""
    degrees, batch = divisors(n_devices), search.facts.global_batch
    grid = np.meshgrid(*(search.kept(axis, degrees) for axis in ("tp", "cp", "pp")), indexing="ij")
    tp, cp, pp = (column.ravel() for column in grid)
    whole = n_devices % (tp * cp * pp) == 0
    rows: Rows = {"tp": tp[whole], "cp": cp[whole], "pp": pp[whole]}
    rows["dp"] = n_devices // (rows["tp"] * rows["cp"] * rows["pp"])
    rows = _filter(rows, np.isin(rows["dp"], search.kept("dp", degrees)))
    experts = search.facts.n_experts
    rows = extend(rows, "ep", rows["dp"] * rows["cp"], lambda n: search.kept("ep", divisors(gcd(n, experts))))
    return extend(rows, "micro_batch", rows["dp"], lambda dp: search.kept("micro_batch", divisors(max(1, batch // dp))))


def _filter(rows: Rows, mask: NDArray[np.bool_]) -> Rows:
    return {axis: column[mask] for axis, column in rows.items()}


def make_space(facts: Facts, counts: Iterable[int], pins: Iterable[Pin] = (), limit: int | None = None) -> Space:
    """The legal space over the device counts; finer parts are left out, in the order of FINER, to stay in ``limit``.

    A table costs as much to price as some TABLE_ROWS candidates before its first row, and counts so.
    """
    pins, counts = tuple(pins), tuple(counts)
    left_out: list[str] = []
    pieces = _all_pieces(Search(facts=facts, pins=pins), counts)
    for n_dropped, finer in enumerate(FINER, start=1):
        n_before = sum(piece.n_rows for piece in pieces)
        if limit is None or n_before + TABLE_ROWS * len(pieces) <= limit:
            break
        pieces = _all_pieces(Search(facts=facts, pins=pins, dropped=FINER[:n_dropped]), counts)
        if sum(piece.n_rows for piece in pieces) < n_before:
            left_out.append(finer.text)
    tables = tuple(piece.table() for piece in pieces)
    return Space(tables=tables, n_candidates=sum(piece.n_rows for piece in pieces), left_out=tuple(left_out))


def _all_pieces(search: Search, counts: Iterable[int]) -> list[Piece]:
    return [piece for count in counts for piece in _pieces(base_rows(count, search), search)]


def _table(rows: Rows, **choices: Any) -> Strategy:
    fields: dict[str, Any] = {**choices, **rows}
    return Strategy(**fields)


def _usual(axis: str, facts: Facts) -> tuple[Any, ...]:
    if axis == "precision":
        half = next((name for name in ("bf16", "fp16") if name in facts.precisions), None)
        return tuple(name for name in (half, "fp32" if facts.is_cpu or half is None else None) if name)
    if axis == "schedule":
        return ("1f1b", "interleaved", "zero_bubble")
    if axis == "offload" and facts.is_cpu:
        return ("none",)
    if axis == "order":
        return ORDERS if facts.n_devices > facts.devices_per_node else ORDERS[:1]
    return CHOICES[axis]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One combination of choices of a group, and the values of its count for every base row, end to end.

    Row i of the base has ``n[i]`` values, ``values[start[i]:start[i] + n[i]]``: 0 where a rule or a duplicate forbids.
    """

    choices: dict[str, Any]
    axis: str | None
    values: NDArray[np.int64]
    n: NDArray[np.int64]
    start: NDArray[np.int64]


GROUPS: tuple[tuple[tuple[str, ...], str | None], ...] = (
    (("schedule",), "virtual_stages"),
    (("zero_stage", "offload"), "shard"),
    (("sequence_parallel",), None),
    (("cp_kind",), None),
    (("recompute",), "recompute_every"),
    (("precision",), None),
    (("order",), None),
)
"""Choices with the count that goes with them. No rule of legality looks at two groups, so each is judged alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One table before it is written out: the base and one option of every group."""

    base: Rows
    options: tuple[Option, ...]
    per_row: NDArray[np.int64]

    @property
    def n_rows(self) -> int:
        """Candidates in the table."""
        return int(self.per_row.sum())

    def table(self) -> Strategy:
        """Every base row crossed with the values of every option's count."""
        index = np.repeat(np.arange(len(self.per_row)), self.per_row)
        within = np.arange(len(index)) - np.repeat(np.cumsum(self.per_row) - self.per_row, self.per_row)
        rows = {axis: column[index] for axis, column in self.base.items()}
        for option in self.options:
            if option.axis is None:
                continue
            if option.n.max() > 1:
                n = option.n[index]
                rows[option.axis] = option.values[option.start[index] + within % n]
                within = within // n
            else:
                rows[option.axis] = option.values[option.start[index]]
        choices = {name: value for option in self.options for name, value in option.choices.items()}
        return _table(rows, **choices)


def _pieces(rows: Rows, search: Search) -> Iterator[Piece]:
    """Every combination of one option a group that has any candidate."""
    if not len(rows["dp"]):
        return
    base = _filter(rows, legal_rows(_table(rows, precision=search.facts.precisions[0]), search.facts))
    if not len(base["dp"]):
        return
    for options in product(*(_options(base, names, axis, search) for names, axis in GROUPS)):
        per_row = np.prod(np.stack([option.n for option in options]), axis=0)
        if per_row.any():
            yield Piece(base=base, options=options, per_row=per_row)


def _options(base: Rows, names: tuple[str, ...], axis: str | None, search: Search) -> list[Option]:
    """The combinations of one group's choices, each judged by the rules on its own."""
    found = []
    for values in product(*(search.domain(name) for name in names)):
        choices = dict(zip(names, values, strict=True))
        rows = base | {"index": np.arange(len(base["dp"]))}
        counted = None if choices.get("zero_stage") == 0 else axis
        if counted is not None:
            rows = extend(rows, counted, *_values(counted, choices, rows, search))
        index = rows.pop("index")
        legal = legal_rows(_table(rows, **({"precision": search.facts.precisions[0]} | choices)), search.facts)
        legal &= _distinct(rows, choices, search)
        n = np.bincount(index[legal], minlength=len(base["dp"])).astype(np.int64)
        column = rows[counted][legal] if counted is not None else index[legal]
        if legal.any():
            found.append(Option(choices=choices, axis=counted, values=column, n=n, start=np.cumsum(n) - n))
    return found


def _values(
    axis: str, choices: dict[str, Any], rows: Rows, search: Search
) -> tuple[NDArray[np.int64], Callable[[int], NDArray[np.int64]]]:
    """What an option's count depends on, and its values for that."""
    one = np.ones(1, dtype=np.int64)
    if axis == "virtual_stages":
        interleaved = choices["schedule"] == "interleaved"
        return rows["pp"], lambda pp: search.kept(axis, _virtual(pp, search.facts) if interleaved else one)
    if axis == "shard":
        parts = search.keeps("shard", 0) or pinned_values(search.pins, "shard") is not None
        return rows["dp"], lambda dp: _shards(dp, search, parts=parts)
    ladder = np.array(LADDER, dtype=np.int64) if choices["recompute"] != "none" else one
    layers = -(-search.facts.n_layers // rows["pp"])
    return layers, lambda n: search.kept(axis, ladder[ladder <= n])


def _shards(dp: int, search: Search, *, parts: bool) -> NDArray[np.int64]:
    """Ranks that share one copy of the states: all of dp, or any divisor where parts are looked at."""
    if not parts or dp == 1:
        return np.array([dp], dtype=np.int64)
    groups = divisors(dp)[1:]
    allowed_parts = [part for part in groups.tolist() if allowed(search.pins, "shard", part)]
    return np.array(allowed_parts, dtype=np.int64)


def _virtual(pp: int, facts: Facts) -> NDArray[np.int64]:
    """Virtual stages per device: those that divide the blocks evenly where pp does, else any."""
    values = np.arange(2, max(2, facts.n_layers // pp + 1))
    return values[facts.n_layers % (pp * values) == 0] if facts.n_layers % pp == 0 else values


def _distinct(rows: Rows, choices: dict[str, Any], search: Search) -> NDArray[np.bool_]:
    """Rows for which no other combination of choices that is looked at says the same."""
    kept = np.ones(len(rows["dp"]), dtype=np.bool_)
    if choices.get("zero_stage", 0) > 0 and choices["offload"] == "none" and search.keeps("zero_stage", 0):
        kept &= rows["dp"] * rows["cp"] > 1
    if choices.get("schedule") in ("zero_bubble", "gpipe") and search.keeps("schedule", "1f1b"):
        kept &= rows["pp"] > 1
    if choices.get("cp_kind", "ring") != "ring" and search.keeps("cp_kind", "ring"):
        kept &= rows["cp"] > 1
    if "order" in choices:
        orders = search.domain("order")
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
        rows = base_rows(count, Search(facts=facts, pins=pins))
        n_all += len(rows["dp"])
        if len(rows["dp"]):
            table = _table(rows, precision=facts.precisions[0])
            for rule in RULES:
                totals[rule.reason] = totals.get(rule.reason, 0) + int(broken_by(rule, table, facts).sum())
    if not n_all:
        return ": the degrees do not multiply to that many"
    reason = max(totals, key=lambda name: totals[name])
    return f": {reason} in {totals[reason]} of {n_all} splits"
