"""Ops in order as blocks: one for each unit that repeats, one for what lies between, equal neighbours as repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from torch import Tensor

from trainwright.capture.build import Drafting, Drawn, folded, merged
from trainwright.capture.entries import Entry
from trainwright.capture.fit import Point, size_of
from trainwright.capture.trace import OpRecord, Trace
from trainwright.models.spec import Block, Op, Pointwise, Size

Row = tuple[Entry, list[Counter[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The units of a module, and how many each traced unit stands for where a run was cut short."""

    units: tuple[str, ...] = ()
    stands: Mapping[str, int] = field(default_factory=dict)
    leaves: frozenset[str] = frozenset()

    def unit_of(self, module: str) -> str:
        """The unit a module lies in; empty for what lies outside all."""
        parts = module.split(".")
        for n in range(1, len(parts) + 1):
            path = ".".join(parts[:n])
            if path in self._known:
                return path
        return ""

    @property
    def _known(self) -> frozenset[str]:
        return frozenset(self.units)

    def with_unused(self, blocks: tuple[Block, ...], unused: Mapping[str, Tensor]) -> tuple[Block, ...]:
        """Parameters that no op of the step touched, held by the last block so that the count is exact."""
        counts = {True: 0, False: 0}
        for name, parameter in unused.items():
            counts[parameter.requires_grad] += parameter.numel() * self.stands.get(self.unit_of(name), 1)
        holders = tuple(
            Pointwise(
                name="unused parameters" if trains else "unused frozen parameters", elements=Size(), n_parameters=n,
                trainable=False, n_kernels=0, backward_kernels=0,
            )
            for trains, n in counts.items()
            if n
        )  # fmt: skip
        return (*blocks[:-1], replace(blocks[-1], ops=blocks[-1].ops + holders)) if holders else blocks


def moved_to_producers(trace: Trace, entries: list[Entry], layout: Layout) -> list[Entry]:
    """What several units keep (rotary tables, a mask, an encoder's output) is kept by the op that made it.

    Otherwise the first unit would seem to keep more than its equals.
    """
    by_index = {entry.op.index: entry for entry in entries}
    for record in trace.saved:
        savers = {layout.unit_of(trace.ops[op].module) for op in record.ops}
        born = trace.storages[record.storage].born
        owner, maker = by_index.get(record.op), by_index.get(born)
        if len(savers) < 2 or owner is None or maker is None or maker is owner:
            continue
        for key, n_elements in _amount_of(record.dtype.is_floating_point, record.n_bytes, owner):
            owner.amounts[key] -= n_elements  # type: ignore[assignment]
            maker.amounts[key] += n_elements  # type: ignore[assignment]
    return entries


def _amount_of(is_float: bool, n_bytes: int, owner: Entry) -> Iterator[tuple[str, float]]:
    if is_float:
        yield "saved_compute", n_bytes / 4
    elif owner.amounts["saved_int64"] * 8 >= n_bytes:
        yield "saved_int64", n_bytes / 8
    else:
        yield "saved_bool", float(n_bytes)


def blocks_of(
    drafting: Drafting, rows: Sequence[Row], layout: Layout, traces: Mapping[Point, Trace]
) -> tuple[Block, ...]:
    """All blocks in the order of the forward pass; ``traces`` by the point they were made at."""
    drawn = [
        Drawn(op=op, unit=layout.unit_of(entry.module), module=entry.module)
        for entry, amounts in rows
        for op in drafting.op(entry, amounts, _name(entry, layout))
    ]
    segments = [folded(segment, drafting.at[0]) for segment in _segments(merged(drawn, drafting.at[0]))]
    sizes = _boundaries([segment[0].unit for segment in segments], layout, traces)
    found: list[Block] = []
    for segment, boundary in zip(segments, sizes, strict=True):
        unit = segment[0].unit
        block = Block(
            name=unit or ("head" if found else "stem"),
            ops=tuple(_without_idle(each.op for each in segment)),
            boundary=boundary,
            repeats=layout.stands.get(unit, 1),
        )
        if found and unit and _alike(found[-1], block):
            more = found[-1] if found[-1].repeats >= block.repeats else block
            found[-1] = replace(more, name=found[-1].name, repeats=found[-1].repeats + block.repeats)
        else:
            found.append(block)
    return tuple(found)


def _name(entry: Entry, layout: Layout) -> str:
    """The module's path inside its unit; and the op, where the module has parts of its own."""
    unit = layout.unit_of(entry.module)
    inside = entry.module.removeprefix(unit).removeprefix(".")
    return inside if inside and entry.module in layout.leaves else f"{inside} {entry.op.name}".strip()


def _segments(drawn: Sequence[Drawn]) -> list[list[Drawn]]:
    """Ops of one unit in a row; a few pointwise ops between units belong to the unit before them."""
    runs: list[list[Drawn]] = []
    for each in drawn:
        if runs and runs[-1][0].unit == each.unit:
            runs[-1].append(each)
        else:
            runs.append([each])
    found: list[list[Drawn]] = []
    for i, run in enumerate(runs):
        glue = 0 < i < len(runs) - 1 and not run[0].unit and all(_is_small(each.op) for each in run)
        if glue and found[-1][0].unit:
            found[-1] += [replace(each, unit=found[-1][0].unit) for each in run]
        elif found and found[-1][0].unit == run[0].unit:
            found[-1] += run
        else:
            found.append(run)
    return found


def _is_small(op: Op) -> bool:
    return isinstance(op, Pointwise) and not op.n_parameters


def _without_idle(ops: Iterator[Op]) -> Iterator[Op]:
    for op in ops:
        if op.n_kernels or op.backward_kernels or op.n_parameters or op.saved:
            yield op


_LOOSE = frozenset({"backward_kernels", "elements", "reads", "writes", "backward_reads", "backward_writes"})


def _alike(first: Block, second: Block) -> bool:
    """Equal, but for where gradients meet: the first or last user of a shared tensor has one sum more or less."""
    if len(first.ops) != len(second.ops) or first.boundary != second.boundary:
        return False
    return all(_alike_op(a, b) for a, b in zip(first.ops, second.ops, strict=True))


def _alike_op(first: Op, second: Op) -> bool:
    if type(first) is not type(second) or abs(first.backward_kernels - second.backward_kernels) > 2:
        return False
    names = [f.name for f in fields(first)]
    loose = _LOOSE if isinstance(first, Pointwise) else {"backward_kernels"}
    return all(getattr(first, n) == getattr(second, n) for n in names if n not in loose | {"transcendental"})


def _boundaries(order: Sequence[str], layout: Layout, traces: Mapping[Point, Trace]) -> list[Size]:
    """Elements that each unit makes and later ones read, in the forward pass."""
    crossing = [_crossing(trace, layout) for trace in traces.values()]
    whole = [sum(each.values()) for each in crossing]
    sizes: list[Size] = []
    seen: set[str] = set()
    for unit in order:
        fresh = unit not in seen
        seen.add(unit)
        values = [each[unit] if fresh else 0.0 for each in crossing]
        sizes.append(size_of(tuple(traces), values) if any(whole) else Size())
    return sizes


def _crossing(trace: Trace, layout: Layout) -> Counter[str]:
    """For each unit, elements of storages born in it and read by a forward op outside it afterwards."""
    makers: dict[int, OpRecord] = {}
    found: Counter[str] = Counter()
    counted: set[int] = set()
    for op in trace.ops:
        if op.phase != "forward":
            continue
        unit = layout.unit_of(op.module)
        for storage in op.inputs:
            maker = makers.get(storage)
            if maker is None or storage in counted or layout.unit_of(maker.module) == unit:
                continue
            counted.add(storage)
            found[layout.unit_of(maker.module)] += trace.storages[storage].n_bytes // 4
        for storage in op.outputs:
            if trace.storages[storage].kind == "step":
                makers.setdefault(storage, op)
    return found
