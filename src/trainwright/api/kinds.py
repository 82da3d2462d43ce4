"""Kinds of nets beside each other, measured on captured ones."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainwright.recipes.kinds import Kind
    from trainwright.report.kinds_text import KindLine

SIZES = (256, 1024)
"""Positions at which each kind is captured; growth is between them."""
BATCH = 2


def compare_kinds() -> tuple[KindLine, ...]:
    """A line for each kind of net: one step captured at both SIZES."""
    from trainwright.recipes.kinds import KINDS

    return tuple(_line(kind) for kind in KINDS)


def _line(kind: Kind) -> KindLine:
    from trainwright.capture.inputs import example_of
    from trainwright.capture.meta import built_on_meta
    from trainwright.capture.step import trace_step
    from trainwright.jobs.inputs import parse_input
    from trainwright.report.kinds_text import KindLine

    flop, kept, kernels, parameters = [], [], [], []
    for n in SIZES:
        texts = [text.format(n=n, side=math.isqrt(n), edges=4 * n) for text in kind.inputs]
        module = built_on_meta(partial(kind.build, n))
        parameters.append(sum(p.numel() for p in module.parameters()))
        trace = trace_step(module, example_of(tuple(parse_input(text) for text in texts), BATCH, 1))
        flop.append((trace.flop("forward") + trace.flop("backward")) / BATCH)
        kept.append(trace.saved_bytes / BATCH)
        kernels.append(sum(op.phase in ("forward", "backward") for op in trace.ops))
    return KindLine(
        name=kind.name,
        purpose=kind.purpose,
        counts=kind.counts,
        n_positions=SIZES[1],
        n_parameters=parameters[1],
        flop=flop[1],
        saved_bytes=kept[1],
        n_kernels=kernels[1],
        growth=(_power(flop), _power(kept), _power(kernels)),
    )


def _power(values: list[float] | list[int]) -> float:
    """The exponent of the growth with the number of positions: 1 is in proportion.

    >>> _power([10.0, 160.0])
    2.0
    """
    return math.log(values[1] / values[0]) / math.log(SIZES[1] / SIZES[0])
