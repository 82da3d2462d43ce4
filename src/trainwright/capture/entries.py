"""A trace as forward entries: each forward op with its gradient's ops, what it keeps, and the parameters it holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from math import prod

import torch

from trainwright.capture.kinds import elements_of, kind_of
from trainwright.capture.trace import OpRecord, SavedRecord, Trace
from trainwright.models.spec import SavedDtype

PRODUCTS = frozenset({"mm", "bmm", "addmm", "baddbmm", "_grouped_mm", "convolution", "mkldnn_rnn_layer"})
ATTENTION = frozenset({"attention_forward", "_scaled_dot_product_flash_attention_for_cpu"})
_EXP = frozenset({"exp", "tanh", "sigmoid", "gelu", "silu", "_softmax", "_log_softmax", "_safe_softmax", "rsqrt",
                  "sqrt", "sin", "cos", "log", "pow", "softplus", "elu", "mish", "erf", "tanh_", "sigmoid_",
                  "silu_", "binary_cross_entropy_with_logits", "logsumexp", "log_sigmoid_forward"})  # fmt: skip
_ELEMENT_BYTES = 4.0


@dataclass(slots=True, kw_only=True)
class Entry:
    """One forward op. ``amounts`` are the figures that grow with batch and sequence; see ``amounts_of``."""

    op: OpRecord
    amounts: Counter[str] = field(default_factory=Counter)
    parameters: tuple[str, ...] = ()
    split_inputs: bool = False

    @property
    def module(self) -> str:
        """The module whose forward ran it."""
        return self.op.module

    @property
    def product(self) -> tuple[int, int, int, int]:
        """(count, rows, k, n) of a matrix product; a convolution is its im2col product, an LSTM layer its steps'."""
        return product_of(self.op)


def product_of(op: OpRecord) -> tuple[int, int, int, int]:
    """(count, rows, k, n) of an op of PRODUCTS."""
    shapes = op.shapes[1:] if op.name in ("addmm", "baddbmm") else op.shapes
    left, right = shapes[0], shapes[1]
    if op.name == "convolution":
        transposed, groups, *_ = op.detail
        positions = prod(left[2:] if transposed else op.out_shape[2:]) * left[0]
        inner, outer = (right[0] // groups, prod(right[1:])) if transposed else (prod(right[1:]), right[0] // groups)
        return groups, positions, inner, outer
    if op.name == "mkldnn_rnn_layer":
        return left[0], prod(left[1:-1]), right[1] + op.shapes[2][1], right[0]
    if op.name in ("bmm", "baddbmm"):
        return left[0], left[1], left[2], right[2]
    if op.name == "_grouped_mm":
        return 1, left[0], left[1], right[-1]
    return 1, left[0], left[1], right[1]


def entries_of(trace: Trace) -> list[Entry]:
    """Every forward op that launches something, forward or backward, in order."""
    gradients = _gradients(trace)
    by_owner = _owned_saves(trace)
    counted: set[tuple[str, str]] = set()
    found = []
    for op in trace.ops:
        if op.phase != "forward":
            continue
        entry = Entry(op=op, amounts=_amounts(op, gradients[op.index], by_owner[op.index], trace))
        fresh = [name for name in op.parameters if (op.module, name) not in counted]
        if not op.is_view:
            counted.update((op.module, name) for name in fresh)
            entry.parameters = tuple(fresh)
        if any(entry.amounts.values()) or entry.parameters:
            found.append(entry)
    return found


def _gradients(trace: Trace) -> dict[int, list[OpRecord]]:
    found: dict[int, list[OpRecord]] = defaultdict(list)
    for op in trace.ops:
        if op.phase == "backward" and op.owner is not None and not op.is_view:
            found[op.owner].append(op)
    return found


def _owned_saves(trace: Trace) -> dict[int, list[SavedRecord]]:
    found: dict[int, list[SavedRecord]] = defaultdict(list)
    for record in trace.saved:
        found[record.op].append(record)
    return found


def _amounts(op: OpRecord, gradients: list[OpRecord], saves: list[SavedRecord], trace: Trace) -> Counter[str]:
    found: Counter[str] = Counter()
    if not op.is_view:
        found["kernels"] = 1
        found["read"] = op.read_bytes / _ELEMENT_BYTES  # type: ignore[assignment]
        found["written"] = op.written_bytes / _ELEMENT_BYTES  # type: ignore[assignment]
        found["elements"] = elements_of(op, kind_of(op))
        found["transcendental"] = op.n_elements if op.name in _EXP else 0
        found["flop"] = op.flop  # type: ignore[assignment]
        if op.name == "convolution":
            found["input"] = prod(op.shapes[0])
        _attention_amounts(op, found)
        found["is_loss"] = _feeds_a_loss(op, trace)
    for gradient in gradients:
        found["backward_kernels"] += 1
        found["backward_read"] += gradient.read_bytes / _ELEMENT_BYTES  # type: ignore[assignment]
        found["backward_written"] += gradient.written_bytes / _ELEMENT_BYTES  # type: ignore[assignment]
        found["backward_flop"] += gradient.flop  # type: ignore[assignment]
        if op.is_view:
            found["elements"] = max(found["elements"], gradient.n_elements)
        if op.name in PRODUCTS | ATTENTION and _is_beside(gradient):
            found["beside_kernels"] += 1
            found["beside_read"] += gradient.read_bytes / _ELEMENT_BYTES  # type: ignore[assignment]
            found["beside_written"] += gradient.written_bytes / _ELEMENT_BYTES  # type: ignore[assignment]
    for record in saves:
        dtype, n_elements = _saved_as(record)
        found[f"saved_{dtype}"] += n_elements  # type: ignore[assignment]
    return +found


def _is_beside(gradient: OpRecord) -> bool:
    """Whether an op in a product's backward is none of its products, nor the sum for its bias: gradients that meet."""
    return not gradient.flop and gradient.name != "sum"


def _attention_amounts(op: OpRecord, found: Counter[str]) -> None:
    if op.name in ATTENTION:
        found.update(queries=op.shapes[0][-2], keys=op.shapes[1][-2], calls=1)


def _feeds_a_loss(op: OpRecord, trace: Trace) -> int:
    """1 for a log-softmax that the very next ops take as the logits of a cross-entropy."""
    if op.name != "_log_softmax":
        return 0
    following = trace.ops[op.index + 1 : op.index + 6]
    return int(any(n.name.startswith("nll_loss") and n.inputs[0] in op.outputs for n in following))


def _saved_as(record: SavedRecord) -> tuple[SavedDtype, float]:
    if record.dtype.is_floating_point:
        return "compute", record.n_bytes / _ELEMENT_BYTES
    if record.dtype in (torch.int64, torch.int32, torch.int16):
        return "int64", record.n_bytes / 8
    return "bool", float(record.n_bytes)


def aligned(traces: Sequence[list[Entry]]) -> list[tuple[Entry, list[Counter[str]]]]:
    """The entries of the first trace, each with its amounts in every trace.

    Op by op in modules that ran the same ops each time; where a loop ran more often (over time steps, say), or took one
    weight LOOPED times, the module's ops of one kind on one weight are taken together.
    """
    sequences = [_names_by_module(entries) for entries in traces]
    same = {m for m in sequences[0] if all(s.get(m) == sequences[0][m] for s in sequences)}
    uses = Counter((entry.module, entry.op.name, entry.op.parameters) for entry in traces[0] if entry.op.parameters)
    same -= {module for (module, *_), times in uses.items() if times >= LOOPED}
    keyed = [_keyed(entries, same) for entries in traces]
    return [(group[0], [_total(k.get(key, [])) for k in keyed]) for key, group in keyed[0].items()]


LOOPED = 8


def _names_by_module(entries: list[Entry]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        found[entry.module].append(entry.op.name)
    return found


def _keyed(entries: list[Entry], same: set[str]) -> dict[Hashable, list[Entry]]:
    counts: Counter[str] = Counter()
    found: dict[Hashable, list[Entry]] = defaultdict(list)
    for entry in entries:
        counts[entry.module] += 1
        key: Hashable = (entry.module, counts[entry.module])
        if entry.module not in same:
            shape = product_of(entry.op)[2:] if entry.op.name in PRODUCTS else ()
            ratio = round(entry.amounts["backward_flop"] / max(entry.amounts["flop"], 1))
            key = (entry.module, entry.op.name, entry.op.parameters, shape, ratio)
        found[key].append(entry)
    return found


def _total(group: list[Entry]) -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in group:
        for key, value in entry.amounts.items():
            found[key] += value
        if entry.op.name in PRODUCTS:
            found["products"] += 1
    return found
