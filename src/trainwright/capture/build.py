"""Forward entries, with their sizes, as ops of a ``ModelSpec``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import prod
from typing import Any

from trainwright.capture.entries import ATTENTION, PRODUCTS, Entry
from trainwright.capture.fit import Point, size_of, tidy
from trainwright.capture.kinds import kind_of
from trainwright.models.spec import (
    Attention,
    CrossEntropy,
    Lookup,
    Matmul,
    Op,
    Pointwise,
    Saved,
    SavedDtype,
    Size,
    Split,
)

_SAVED: tuple[SavedDtype, ...] = ("compute", "int64", "bool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """An op with what merging needs to know: its unit, its module, and what it touches at the reference point."""

    op: Op
    unit: str
    module: str
    touched: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafting:
    """What turns an entry into an op: the points of the traces, parameter counts, which train, and the tensor plan."""

    at: Sequence[Point]
    n_elements: Mapping[str, int]
    trainable: Mapping[str, bool]
    splits: Mapping[int, Split]

    def op(self, entry: Entry, amounts: Sequence[Counter[str]], name: str) -> list[Op]:
        """The op of one entry; two where frozen and trainable parameters meet in one."""
        found = self._of_kind(entry, amounts, name)
        beside = self._beside(amounts, name)
        if beside is not None:
            found = replace(found, backward_kernels=found.backward_kernels - beside.backward_kernels)
        return self._with_parameters(entry, amounts, found) + ([beside] if beside is not None else [])

    def _beside(self, amounts: Sequence[Counter[str]], name: str) -> Pointwise | None:
        """What a product's backward does beside products; only bytes."""
        kernels = int(amounts[0]["beside_kernels"])
        if not kernels:
            return None
        whole = max(float(amounts[0]["beside_written"]), 1.0)
        return Pointwise(
            name=f"{name} (gradients)", elements=self.size(amounts, "beside_written"), n_kernels=0, reads=0.0,
            writes=0.0, backward_kernels=kernels, backward_reads=amounts[0]["beside_read"] / whole, backward_writes=1.0,
        )  # fmt: skip

    def _with_parameters(self, entry: Entry, amounts: Sequence[Counter[str]], found: Op) -> list[Op]:
        name, names = found.name, entry.parameters
        n_trained = sum(self.n_elements[n] for n in names if self.trainable[n])
        n_frozen = sum(self.n_elements[n] for n in names if not self.trainable[n])
        if n_trained and n_frozen:
            rest = Pointwise(
                name=f"{name} (frozen part)", elements=Size(), n_parameters=n_frozen, trainable=False,
                backward_kernels=0, split=found.split,
            )  # fmt: skip
            return [replace(found, n_parameters=n_trained), rest]
        return [replace(found, n_parameters=n_trained + n_frozen, **self._direction(entry, amounts[0], n_frozen > 0))]

    def _direction(self, entry: Entry, reference: Counter[str], frozen: bool) -> dict[str, Any]:
        """Whether weights and input get gradients, from how much the backward did."""
        if entry.op.name not in PRODUCTS or not reference["flop"]:
            return {"trainable": not frozen, "frozen_input": False}
        ratio = reference["backward_flop"] / reference["flop"]
        if frozen:
            return {"trainable": False, "frozen_input": ratio < 0.5}
        return {"trainable": ratio > 0.25, "frozen_input": ratio < 1.5}

    def size(self, amounts: Sequence[Counter[str]], key: str) -> Size:
        """How one amount grows."""
        return size_of(self.at, [float(amount[key]) for amount in amounts])

    def _of_kind(self, entry: Entry, amounts: Sequence[Counter[str]], name: str) -> Op:
        reference = amounts[0]
        split = self.splits.get(entry.op.index, "none")
        kept_split = _split_of_saved(entry, split)
        saved = tuple(
            Saved(elements=self.size(amounts, f"saved_{dtype}"), dtype=dtype, split=kept_split)
            for dtype in _SAVED
            if any(amount[f"saved_{dtype}"] for amount in amounts)
        )
        common = {
            "name": name, "saved": saved, "split": split, "n_kernels": int(reference["kernels"]),
            "backward_kernels": int(reference["backward_kernels"]), "kernel": kind_of(entry.op),
        }  # fmt: skip
        kind = entry.op.name
        if kind in PRODUCTS:
            return self._matmul(entry, amounts, common)
        if kind in ATTENTION:
            return self._attention(entry, amounts, common)
        if kind == "embedding":
            table = entry.op.shapes[0]
            rows = _over(self.size(amounts, "written"), table[1])
            return Lookup(rows=rows, width=table[1], n_entries=table[0], frozen_input=True, **common)  # type: ignore[arg-type]
        if kind == "_log_softmax" and reference["is_loss"]:
            classes = entry.op.shapes[0][1 if len(entry.op.shapes[0]) > 2 else -1]
            return CrossEntropy(rows=_over(self.size(amounts, "written"), classes), n_classes=classes, **common)  # type: ignore[arg-type]
        return self._pointwise(amounts, common)

    def _matmul(self, entry: Entry, amounts: Sequence[Counter[str]], common: Mapping[str, object]) -> Matmul:
        """Rows carry whatever grows; n, k and count are those of the reference point."""
        count, _, k, n = entry.product
        batch, steps = self.at[0][0], max(int(amounts[0]["products"]), 1)
        if entry.op.name in ("bmm", "baddbmm"):
            count = max(count // batch, 1) if count % batch == 0 else count
        count *= steps
        rows = _over(self.size(amounts, "flop"), 2.0 * k * n * count)
        grouped = entry.op.name == "_grouped_mm"
        n_experts = entry.op.shapes[1][0] if grouped else 1
        if grouped:
            common = {**common, "split": "expert"}
        return Matmul(
            rows=rows, n=n, k=k, count=count, n_experts=n_experts, is_convolution=entry.op.name == "convolution",
            input=self.size(amounts, "input") if amounts[0]["input"] else None,
            window=prod(entry.op.shapes[1][2:]) if entry.op.name == "convolution" else 1,
            **common,  # type: ignore[arg-type]
        )  # fmt: skip

    def _attention(self, entry: Entry, amounts: Sequence[Counter[str]], common: Mapping[str, object]) -> Op:
        query, key, value = entry.op.shapes[:3]
        outer, heads = (query[0], query[1]) if len(query) == 4 else (query[0], 1)
        calls = max(int(amounts[0]["calls"]), 1)
        windows = max(round(outer / self.at[0][0]), 1) * calls
        return Attention(
            n_heads=heads * windows,
            n_kv_heads=(key[1] if len(key) == 4 else 1) * windows,
            qk_dim=query[-1],
            v_dim=value[-1],
            queries=_per_sample(self.size(amounts, "queries").times(1.0 / calls)),
            keys=_per_sample(self.size(amounts, "keys").times(1.0 / calls)),
            causal=bool(entry.op.detail and entry.op.detail[0]),
            **common,  # type: ignore[arg-type]
        )

    def _pointwise(self, amounts: Sequence[Counter[str]], common: Mapping[str, object]) -> Pointwise:
        """Elements are those of one kernel; reads and writes are of all, where a loop ran several."""
        reference = amounts[0]
        times = max(int(reference["kernels"]), 1)
        whole = max(float(reference["elements"]) / times, 1.0)
        return Pointwise(
            elements=_over(self.size(amounts, "elements"), times),
            reads=reference["read"] / whole,
            writes=reference["written"] / whole,
            backward_reads=reference["backward_read"] / whole,
            backward_writes=reference["backward_written"] / whole,
            transcendental=reference["transcendental"] / whole,
            **common,  # type: ignore[arg-type]
        )


def _split_of_saved(entry: Entry, split: Split) -> Split:
    """A product keeps its input, which only a row split divides; every other op keeps what it works on."""
    if entry.op.name in PRODUCTS or entry.op.name == "embedding":
        return "column" if split == "row" else "none"
    return split


def _per_sample(size: Size) -> Size:
    """Positions are told for a batch of one, whatever the batch."""
    return Size(sample=size.fixed, token=size.position)


def _over(size: Size, divisor: float) -> Size:
    """Every term divided, whole where it should be."""
    return Size(**{f.name: tidy(getattr(size, f.name) / divisor) for f in fields(size)})


def merged(ops: Sequence[Drawn], at: Point) -> list[Drawn]:
    """Pointwise ops that follow one another in one module, as one op of so many kernels over the largest's elements."""
    found: list[Drawn] = []
    for each in ops:
        last = found[-1] if found else None
        if last is not None and isinstance(last.op, CrossEntropy) and "nll_loss" in each.op.name:
            found[-1] = replace(last, op=_with_loss(last.op, each.op))
        elif last is not None and _may_join(last, each):
            found[-1] = _joined(last, each, at)
        else:
            found.append(each)
    return found


def _with_loss(logits: CrossEntropy, loss: Op) -> CrossEntropy:
    """The picked entries and their mean belong to the cross-entropy."""
    return replace(
        logits,
        saved=_saved_together(logits.saved + loss.saved),
        n_kernels=logits.n_kernels + loss.n_kernels,
        backward_kernels=logits.backward_kernels + loss.backward_kernels,
    )


def folded(ops: Sequence[Drawn], at: Point) -> list[Drawn]:
    """Views launch nothing forward; what their gradients launch is added to a pointwise op near by."""
    found = list(ops)
    for i in range(len(found) - 1, -1, -1):
        each = found[i]
        if each.op.n_kernels or each.op.n_parameters or not isinstance(each.op, Pointwise):
            continue
        others = [j for j, o in enumerate(found) if j != i and _takes_more(o.op)]
        if others:
            nearest = min(others, key=lambda j: abs(j - i))
            found[nearest] = _joined(found[nearest], each, at)
            del found[i]
    return found


def _takes_more(op: Op) -> bool:
    return isinstance(op, Pointwise) and op.n_kernels > 0 and not op.kernel


def _may_join(last: Drawn, each: Drawn) -> bool:
    return (
        isinstance(last.op, Pointwise)
        and isinstance(each.op, Pointwise)
        and last.unit == each.unit
        and not (last.op.kernel or each.op.kernel)
        and (last.module == each.module or not each.op.n_kernels or not last.op.n_kernels)
        and last.op.split == each.op.split
        and (last.op.trainable == each.op.trainable or not each.op.n_parameters or not last.op.n_parameters)
    )


def _joined(last: Drawn, each: Drawn, at: Point) -> Drawn:
    first, second = last.op, each.op
    assert isinstance(first, Pointwise)
    assert isinstance(second, Pointwise)
    a, b = float(first.elements.at(*at)), float(second.elements.at(*at))
    elements, whole = first.elements if a >= b else second.elements, max(a, b, 1.0)

    def mixed(name: str) -> float:
        return float((getattr(first, name) * a + getattr(second, name) * b) / whole)

    op = Pointwise(
        name=first.name if first.n_kernels else second.name,
        kernel=first.kernel or second.kernel,
        elements=elements,
        n_parameters=first.n_parameters + second.n_parameters,
        trainable=first.trainable if first.n_parameters else second.trainable,
        saved=_saved_together(first.saved + second.saved),
        split=first.split,
        n_kernels=first.n_kernels + second.n_kernels,
        backward_kernels=first.backward_kernels + second.backward_kernels,
        reads=mixed("reads"),
        writes=mixed("writes"),
        backward_reads=mixed("backward_reads"),
        backward_writes=mixed("backward_writes"),
        transcendental=mixed("transcendental"),
    )
    return replace(last, op=op, module=last.module if first.n_kernels else each.module)


def _saved_together(saved: tuple[Saved, ...]) -> tuple[Saved, ...]:
    together: dict[tuple[SavedDtype, Split], Size] = {}
    for each in saved:
        key = (each.dtype, each.split)
        together[key] = plus(together.get(key, Size()), each.elements)
    return tuple(Saved(elements=size, dtype=dtype, split=split) for (dtype, split), size in together.items())


def plus(first: Size, second: Size) -> Size:
    """Both amounts."""
    return Size(
        fixed=first.fixed + second.fixed,
        position=first.position + second.position,
        sample=first.sample + second.sample,
        token=first.token + second.token,
        pair=first.pair + second.pair,
    )
