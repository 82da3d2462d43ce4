"""Any ``nn.Module`` to a ``ModelSpec``: traced on meta at a few sizes, repeated blocks found, growth solved for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from trainwright.capture.blocks import Layout, blocks_of, moved_to_producers
from trainwright.capture.build import Drafting
from trainwright.capture.entries import Entry, aligned, entries_of
from trainwright.capture.fit import Point, points, size_of
from trainwright.capture.inputs import example_of, parse_dims_of
from trainwright.capture.meta import built_on_meta
from trainwright.capture.plan import tensor_splits
from trainwright.capture.standin import Kernels
from trainwright.capture.step import trace_step
from trainwright.capture.trace import Trace
from trainwright.capture.units import runs, shortened, units
from trainwright.errors import InvalidInputError
from trainwright.jobs.inputs import Input
from trainwright.models.spec import ModelSpec, Size

Unit = Literal["tokens", "images", "graphs", "samples"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A module as a spec, with the trace at the reference point and what had to be assumed on the way.

    ``trace`` is of the whole module, except where ``is_shortened``: then long runs of equal layers were cut short.
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
    """The spec with the trace at the reference point beside it."""
    model = built_on_meta(module)
    found = runs(model)
    try:
        with shortened(model, found) as stands:
            return _captured(model, setup, (name, source), stands)
    except InvalidInputError:
        if not stands:
            raise
    return _captured(model, setup, (name, source), {})


def _captured(model: nn.Module, setup: Setup, labels: tuple[str, str], stands: dict[str, int]) -> Captured:
    at, traces, notes = _traced(model, setup)
    leaves = frozenset(name for name, child in model.named_modules() if not any(child.children()))
    layout = Layout(units=units(model, runs(model)), stands=stands, leaves=leaves)
    entries = [moved_to_producers(trace, entries_of(trace), layout) for trace in traces]
    parameters = dict(model.named_parameters())
    drafting = Drafting(
        at=at,
        n_elements={n: p.numel() for n, p in parameters.items()},
        trainable={n: p.requires_grad for n, p in parameters.items()},
        splits=tensor_splits(model, traces[0]),
    )
    rows = aligned(entries)
    blocks = blocks_of(drafting, rows, layout, traces)
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
        peak=None if stands else _peak(at, traces, parameters),
    )
    return Captured(spec=spec, trace=traces[0], module=model, setup=setup, notes=notes, is_shortened=bool(stands))


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
    return trace_step(model, example, kernels=setup.kernels)


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
