"""Any ``nn.Module`` to a ``ModelSpec``: traced on meta at a few sizes, repeated blocks found, growth solved for."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from trainwright.capture.blocks import Layout, blocks_of, moved_to_producers
from trainwright.capture.build import Drafting
from trainwright.capture.entries import Entry, aligned, entries_of
from trainwright.capture.fit import Point, extended, points, size_of
from trainwright.capture.inputs import example_of, parse_dims_of
from trainwright.capture.meta import built_on_meta
from trainwright.capture.plan import tensor_splits
from trainwright.capture.standin import Kernels
from trainwright.capture.step import trace_step
from trainwright.capture.trace import TooManyOpsError, Trace
from trainwright.capture.units import runs, shortened, units
from trainwright.errors import InvalidInputError
from trainwright.jobs.inputs import Input
from trainwright.models.spec import ModelSpec, Size

Unit = Literal["tokens", "images", "graphs", "samples"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A module as a spec, with the trace at the reference point and what had to be assumed on the way.

    ``trace`` is of the whole module, except where ``is_shortened``: then long runs of equal layers were cut short, or
    the sequence was.
    """

    spec: ModelSpec
    trace: Trace
    module: nn.Module
    setup: Setup
    notes: tuple[str, ...] = ()
    is_shortened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What to feed the module: inputs by shape, the batch, and the sequence length where one grows."""

    inputs: tuple[Input, ...]
    batch: int = 2
    seq: int | None = None
    unit: Unit | None = None
    kernels: Kernels = "gpu"

    @property
    def guessed_unit(self) -> Unit:
        """What one sample is: tokens where integers come in sequences, images where floats come in planes."""
        if self.unit is not None:
            return self.unit
        if self.seq is not None:
            return "tokens"
        return "images" if any(len(each.dims) == 4 for each in self.inputs) else "samples"


def capture(
    module: nn.Module | Callable[[], nn.Module],
    example: Setup | Sequence[Any] | Mapping[str, Any],
    name: str = "captured",
) -> ModelSpec:
    """The module as a spec, without allocating its weights or running a kernel.

    ``module``: a module (left as it is), or a function that builds one (built on meta). ``example``: a ``Setup``, or
    tensors as the module takes them, whose first dimension is the batch and, for integers, second the sequence.
    """
    if not isinstance(example, Setup):
        inputs, batch, seq = parse_dims_of(dict(example) if isinstance(example, Mapping) else list(example))
        example = Setup(inputs=inputs, batch=batch, seq=seq)
    return captured(module, example, name).spec


def captured(module: nn.Module | Callable[[], nn.Module], setup: Setup, name: str, source: str = "") -> Captured:
    """The spec with the trace at the reference point beside it.

    A module that loops over its sequence in Python is traced at a shorter one, from which the whole follows.
    """
    model, seq = built_on_meta(module), setup.seq
    while True:
        try:
            return _shortened(model, setup, (name, source), seq)
        except TooManyOpsError:
            seq = (seq or 1) // SHORTER


MOST_OPS = 20_000
"""Ops that are traced (a second or two) before a shorter sequence is taken."""
SHORTER = 4
LEAST_SEQ = 64
"""Sequences under this are traced whatever it takes."""


def _shortened(model: nn.Module, setup: Setup, labels: tuple[str, str], seq: int | None) -> Captured:
    try:
        with shortened(model, runs(model)) as stands:
            return _captured(model, setup, labels, _Traced(seq=seq, stands=stands))
    except InvalidInputError:
        if not stands:
            raise
    return _captured(model, setup, labels, _Traced(seq=seq))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traced:
    """What is traced in place of the whole: so long a sequence, and units that stand for so many."""

    seq: int | None
    stands: Mapping[str, int] = field(default_factory=dict)


def _captured(model: nn.Module, setup: Setup, labels: tuple[str, str], instead: _Traced) -> Captured:
    at, traces, notes = _traced(model, replace(setup, seq=instead.seq))
    leaves = frozenset(name for name, child in model.named_modules() if not any(child.children()))
    layout = Layout(units=units(model, runs(model)), stands=instead.stands, leaves=leaves)
    entries = [moved_to_producers(trace, entries_of(trace), layout) for trace in traces]
    parameters = dict(model.named_parameters())
    rows, reference = aligned(entries), at
    if instead.seq != setup.seq:
        reference = points(setup.batch, setup.seq)[: len(at)]
        rows = [(entry, extended(at, amounts, reference)) for entry, amounts in rows]
        notes = (*notes, f"a loop over the sequence: traced at {instead.seq}, from which {setup.seq} is worked out")
    drafting = Drafting(
        at=reference,
        n_elements={n: p.numel() for n, p in parameters.items()},
        trainable={n: p.requires_grad for n, p in parameters.items()},
        splits=tensor_splits(model, traces[0]),
    )
    blocks = blocks_of(drafting, rows, layout, dict(zip(at, traces, strict=True)))
    held = _held(rows, parameters)
    blocks = layout.with_unused(blocks, {n: p for n, p in parameters.items() if not held[n]})
    spec = ModelSpec(
        name=labels[0],
        family=getattr(getattr(model, "config", None), "model_type", None) or type(model).__name__,
        blocks=blocks,
        source=labels[1] or f"captured from {type(model).__module__}.{type(model).__qualname__}",
        max_seq=setup.seq or 1,
        unit=setup.guessed_unit,
        n_tied_parameters=sum(parameters[n].numel() * (times - 1) for n, times in held.items() if times > 1),
        unknown_flop_share=traces[0].unknown_share,
        peak=None if instead.stands else _peak(at, traces, parameters),
    )
    is_shortened = bool(instead.stands) or instead.seq != setup.seq
    return Captured(spec=spec, trace=traces[0], module=model, setup=setup, notes=notes, is_shortened=is_shortened)


def _traced(model: nn.Module, setup: Setup) -> tuple[tuple[Point, ...], list[Trace], tuple[str, ...]]:
    """Traces at every point; where other sequence lengths do not run, at two batches of the given one."""
    run = partial(_trace_at, model, setup)
    at = points(setup.batch, setup.seq)
    first = run(at[0])
    try:
        return at, [first, *(run(point) for point in at[1:])], ()
    except InvalidInputError as error:
        if setup.seq is None:
            raise
        less = ((setup.batch, setup.seq), (2 * setup.batch, setup.seq))
        note = f"only sequences of {setup.seq} run, so growth with the sequence is not known: {error.message}"
        return less, [first, run(less[1])], (note,)


def _trace_at(model: nn.Module, setup: Setup, point: Point) -> Trace:
    example = example_of(setup.inputs, point[0], point[1])
    most_ops = MOST_OPS if setup.seq is not None and setup.seq >= LEAST_SEQ else sys.maxsize
    return trace_step(model, example, kernels=setup.kernels, most_ops=most_ops)


def _peak(at: Sequence[Point], traces: Sequence[Trace], parameters: Mapping[str, torch.Tensor]) -> Size:
    """The most bytes alive in a step beside its parameters."""
    held = sum(parameter.numel() * parameter.element_size() for parameter in parameters.values())
    return size_of(at, [float(trace.peak_bytes - held) for trace in traces])


def _held(rows: Sequence[tuple[Entry, list[Counter[str]]]], parameters: Mapping[str, torch.Tensor]) -> Counter[str]:
    """How many ops hold each parameter."""
    held: Counter[str] = Counter(dict.fromkeys(parameters, 0))
    for entry, _ in rows:
        held.update(entry.parameters)
    return held
