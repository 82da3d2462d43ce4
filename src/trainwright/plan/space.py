"""Every legal way to divide a step, as tables: counts in arrays, one table for each combination of choices.

Duplicates are left out (a pipeline schedule without a pipeline, orders of axes that place no rank differently), and so
is what cannot win: ``gpipe`` (the bubble of 1f1b with more memory) enters only when pinned. ``finer`` axes are dropped
one by one where the space would grow past its limit, and the answer says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations, product
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Finer:
    """A part of the space that may be left out when it grows too large, and what to say then."""

    axis: str
    values: tuple[Any, ...]
    text: str


FINER: tuple[Finer, ...] = (
    Finer(axis="recompute_every", values=(1, 2, 4), text="recomputation of every 3rd, 6th, 8th, 12th and 16th block"),
    Finer(axis="offload", values=("none", "optimizer"), text="offload of parameters"),
    Finer(axis="order", values=(ORDERS[0], ORDERS[3]), text="orders of axes with cp outside dp or pp"),
    Finer(axis="shard", values=(), text="sharding over part of the data-parallel ranks"),
    Finer(axis="recompute_every", values=(1, 2), text="recomputation of every 4th block"),
    Finer(axis="cp_kind", values=("ring",), text="context parallelism by all-to-all"),
    Finer(axis="offload", values=("none",), text="offload of optimizer states"),
    Finer(axis="order", values=ORDERS[:1], text="other orders of axes than tp-cp-ep-dp-pp"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Tables of candidates, how many rows they have, and what was left out of them."""

    tables: tuple[Strategy, ...]
    n_candidates: int
    left_out: tuple[str, ...] = ()


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


def base_rows(n_devices: int, facts: Facts, pins: Iterable[Pin] = ()) -> Rows:
    """Every dp x tp x cp x pp = n_devices with every micro-batch and ep that divide, pins heeded, rules not yet."""
    pins = tuple(pins)

    def keep(axis: str, values: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([value for value in values.tolist() if allowed(pins, axis, value)], dtype=np.int64)

    degrees = divisors(n_devices)
    grid = np.meshgrid(*(keep(axis, degrees) for axis in ("tp", "cp", "pp")), indexing="ij")
    tp, cp, pp = (column.ravel() for column in grid)
    whole = n_devices % (tp * cp * pp) == 0
    rows: Rows = {"tp": tp[whole], "cp": cp[whole], "pp": pp[whole]}
    rows["dp"] = n_devices // (rows["tp"] * rows["cp"] * rows["pp"])
    kept = np.isin(rows["dp"], keep("dp", degrees))
    rows = {axis: column[kept] for axis, column in rows.items()}
    rows = extend(rows, "ep", rows["dp"] * rows["cp"], lambda ranks: keep("ep", _common(ranks, facts.n_experts)))
    return extend(
        rows, "micro_batch", rows["dp"], lambda dp: keep("micro_batch", divisors(max(1, facts.global_batch // dp)))
    )


def _common(first: int, second: int) -> NDArray[np.int64]:
    return divisors(int(np.gcd(first, second)))


def make_space(facts: Facts, counts: Iterable[int], pins: Iterable[Pin] = (), limit: int | None = None) -> Space:
    """The legal space over the device counts; finer parts are left out, in the order of FINER, to stay in ``limit``."""
    pins = tuple(pins)
    bases = [_legal_base(base_rows(count, facts, pins), facts) for count in counts]
    dropped: list[Finer] = []
    while True:
        tables = tuple(table for base in bases for table in _tables(base, facts, pins, dropped))
        n_candidates = sum(len(_column(table)) for table in tables)
        if limit is None or n_candidates <= limit or len(dropped) == len(FINER):
            texts = tuple(finer.text for finer in dropped)
            return Space(tables=tables, n_candidates=n_candidates, left_out=texts)
        dropped.append(FINER[len(dropped)])


def _table(rows: Rows, **choices: Any) -> Strategy:
    fields: dict[str, Any] = {**choices, **rows}
    return Strategy(**fields)


def _column(table: Strategy) -> NDArray[np.int64]:
    return np.atleast_1d(np.asarray(table.dp))


def _legal_base(rows: Rows, facts: Facts) -> Rows:
    kept = legal_rows(Strategy(precision=facts.precisions[0], **rows), facts)  # type: ignore[arg-type]
    return {axis: column[kept] for axis, column in rows.items()}


def _domain(axis: str, facts: Facts, pins: tuple[Pin, ...], dropped: Iterable[Finer]) -> tuple[Any, ...]:
    """The values of a choice that are searched."""
    pinned = pinned_values(pins, axis)
    if pinned is not None:
        return pinned
    values = _usual(axis, facts)
    for finer in dropped:
        if finer.axis == axis:
            values = tuple(value for value in values if value in finer.values)
    return tuple(value for value in values if allowed(pins, axis, value))


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
    return LADDER if axis == "recompute_every" else CHOICES[axis]


def _tables(base: Rows, facts: Facts, pins: tuple[Pin, ...], dropped: list[Finer]) -> Iterator[Strategy]:
    """One table for each combination of choices, over the base rows that it suits."""
    if not len(base["dp"]):
        return
    names = (*CHOICES, "order")
    orders = _domain("order", facts, pins, dropped)
    ladder = np.array(_domain("recompute_every", facts, pins, dropped), dtype=np.int64)
    parts = not any(finer.axis == "shard" for finer in dropped) or pinned_values(pins, "shard") is not None
    crossed: dict[tuple[Any, ...], Rows] = {}
    for values in product(*(_domain(axis, facts, pins, dropped) for axis in names)):
        choices = dict(zip(names, values, strict=True))
        if choices["offload"] == "parameters" and choices["zero_stage"] < 3:
            continue
        key = (choices["schedule"] == "interleaved", choices["zero_stage"] > 0, choices["recompute"] != "none")
        if key not in crossed:
            crossed[key] = _cross(base, facts, pins, key, ladder if key[2] else np.ones(1, np.int64), parts)
        rows = crossed[key]
        kept = _distinct(rows, choices, orders, pins)
        table = _table({axis: column[kept] for axis, column in rows.items()}, **choices)
        legal = legal_rows(table, facts)
        if legal.any():
            columns = {axis: getattr(table, axis)[legal] for axis in rows}
            yield _table(columns, **choices)


def _cross(
    base: Rows,
    facts: Facts,
    pins: tuple[Pin, ...],
    key: tuple[bool, bool, bool],
    ladder: NDArray[np.int64],
    parts: bool,
) -> Rows:
    """The base crossed with virtual stages, sharding groups and the recomputation ladder, where they apply."""
    interleaved, sharded, _ = key
    rows = base

    def keep(axis: str, values: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([value for value in values.tolist() if allowed(pins, axis, value)], dtype=np.int64)

    if interleaved:
        rows = extend(rows, "virtual_stages", rows["pp"], lambda pp: keep("virtual_stages", _virtual(pp, facts)))
    if sharded:
        rows = extend(
            rows,
            "shard",
            rows["dp"],
            lambda dp: keep("shard", divisors(dp)[1:] if parts and dp > 1 else np.array([dp])),
        )
    if len(ladder) == 1:
        return rows | {"recompute_every": np.full(len(rows["dp"]), ladder[0])}
    layers = -(-facts.n_layers // rows["pp"])
    return extend(rows, "recompute_every", layers, lambda n: ladder[ladder <= n])


def _virtual(pp: int, facts: Facts) -> NDArray[np.int64]:
    """Virtual stages per device: those that divide the blocks evenly where pp does, else any."""
    values = np.arange(2, max(2, facts.n_layers // pp + 1))
    return values[facts.n_layers % (pp * values) == 0] if facts.n_layers % pp == 0 else values


def _distinct(rows: Rows, choices: dict[str, Any], orders: tuple[Any, ...], pins: tuple[Pin, ...]) -> NDArray[np.bool_]:
    """Rows for which no other combination of choices that is searched says the same."""
    kept = np.ones(len(rows["dp"]), dtype=np.bool_)
    if choices["zero_stage"] > 0 and choices["offload"] == "none" and allowed(pins, "zero_stage", 0):
        kept &= rows["dp"] * rows["cp"] > 1
    if choices["schedule"] in ("zero_bubble", "gpipe") and allowed(pins, "schedule", "1f1b"):
        kept &= rows["pp"] > 1
    if choices["cp_kind"] != "ring" and allowed(pins, "cp_kind", "ring"):
        kept &= rows["cp"] > 1
    earlier = orders[: orders.index(choices["order"])]
    for other in earlier:
        kept &= _places_differ(rows, other, choices["order"])
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
        rows = base_rows(count, facts, pins)
        n_all += len(rows["dp"])
        if len(rows["dp"]):
            table = _table(rows, precision=facts.precisions[0])
            for rule in RULES:
                totals[rule.reason] = totals.get(rule.reason, 0) + int(broken_by(rule, table, facts).sum())
    if not n_all:
        return ": the degrees do not multiply to that many"
    reason = max(totals, key=lambda name: totals[name])
    return f": {reason} in {totals[reason]} of {n_all} splits"
