"""Which blocks lie on which pipeline stage, and how many micro-batches each stage keeps in flight.

Arrays have a leading axis of stages: the first, one for those between, the last; or every stage where the strategy
lists them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.stages import even_ends
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import Block, ModelSpec
from trainwright.units import Number

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Residence:
    """Repeats of each block on each stage, (stages, candidates) for each block, and micro-batches in flight there.

    ``is_last``: 1 where the loss is computed.
    """

    repeats: tuple[Array, ...]
    in_flight: Array
    is_last: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """How a stack's pipeline departs from 1F1B; cost/memory_rules.py tells of each."""

    scale: float = 1.0
    more: float = 0.0
    is_even: bool = False
    spreads_ends: bool = False


def residence(
    model: ModelSpec, strategy: Strategy, n_micro_batches: Number, pipeline: Pipeline | None = None
) -> Residence:
    """Where the blocks lie. The ends (embedding, head) are the first and last stage's; the rest is divided evenly.

    Where it does not divide, the ends hold fewer (``even_stages``). Of virtual stages a process holds several.
    """
    how = pipeline or Pipeline()
    low, high = _listed(strategy) if strategy.stages else _even(model, strategy)
    pp = np.atleast_1d(np.asarray(strategy.pp, dtype=float))
    if strategy.stages:
        chunk = np.arange(len(low), dtype=float)[:, None] + 0.0 * pp
        is_first, is_last = chunk == 0, chunk == len(low) - 1
        index = chunk[: int(pp[0])]
    else:
        chunk = index = np.stack([0.0 * pp, np.minimum(1.0, pp - 1.0), pp - 1.0])
        row = np.arange(3)[:, None]
        is_first, is_last = (row == 0) & (pp > 0), (row == 2) & (pp > 1) | (row == 0) & (pp == 1)
    kept = in_flight(strategy, np.inf, 0.0 * index if how.is_even else index)
    ends = (0.0 * chunk + len(index) / len(chunk) / pp,) * 2 if how.spreads_ends else (1.0 * is_first, 1.0 * is_last)
    return Residence(
        repeats=_folded(_repeats(model, (low, high), ends), len(index)),
        in_flight=np.minimum(n_micro_batches, np.where(pp > 1, kept * how.scale + how.more, kept)),
        is_last=_folded((1.0 * is_last,), len(index))[0],
    )


def in_flight(strategy: Strategy, n_micro_batches: Number, stage: Number) -> Array:
    """Micro-batches whose activations a stage keeps at once, counted from stage 0.

    GPipe: all of them; 1F1B: min(m, p - stage); interleaved: p + (p - 1 - 2 stage) / v, which is 1 + (p - 1) / (p v)
    times as much on the first stage; zero bubble (ZB-H1) as 1F1B.

    Source: Narayanan et al., arXiv:2104.04473; Korthikanti et al., arXiv:2205.05198, section 4.2.3; Qi et al.,
    arXiv:2401.10241.

    >>> [float(in_flight(Strategy(pp=4), 8, stage)) for stage in range(4)]
    [4.0, 3.0, 2.0, 1.0]
    >>> float(in_flight(Strategy(pp=4, schedule="interleaved", virtual_stages=2), 8, 0))
    5.5
    """
    depth = np.asarray(strategy.pp, dtype=float)
    if strategy.schedule == "gpipe":
        kept: Number = np.where(depth > 1, n_micro_batches, 1.0) + 0.0 * np.asarray(stage)
    elif strategy.schedule == "interleaved":
        kept = np.where(depth > 1, depth + (depth - 1.0 - 2.0 * stage) / strategy.virtual_stages, 1.0)
    else:
        kept = np.maximum(depth - stage, 1.0)
    least: Array = np.minimum(n_micro_batches, kept)
    return least


def divided(model: ModelSpec) -> tuple[Block, ...]:
    """The blocks that a pipeline divides: all but the ends, of three blocks or more."""
    return model.blocks[1:-1] if len(model.blocks) > 2 else model.blocks


def _even(model: ModelSpec, strategy: Strategy) -> tuple[Array, Array]:
    """First and past-last divided block of the first stage, one between, and the last."""
    total = float(sum(block.repeats for block in divided(model)))
    pp = np.atleast_1d(np.asarray(strategy.pp, dtype=float))
    first, most, last = even_ends(total, pp, np.asarray(strategy.virtual_stages, dtype=float))
    first = np.where(pp > 1, first, total)
    none = np.zeros_like(pp)
    low = np.stack([none, first, np.where(pp > 1, total - last, total)])
    high = np.stack([first, np.where(pp > 2, first + most, first), none + total])
    return low, high


def _listed(strategy: Strategy) -> tuple[Array, Array]:
    ends = np.cumsum(np.asarray(strategy.stages, dtype=float))[:, None]
    return ends - np.asarray(strategy.stages, dtype=float)[:, None], ends


def _folded(chunks: tuple[Array, ...], n_stages: int) -> tuple[Array, ...]:
    """Rows of chunks summed to those of the processes that have them: r, r + n, r + 2 n, ..."""
    return tuple(np.reshape(rows, (-1, n_stages, *np.shape(rows)[1:])).sum(axis=0) for rows in chunks)


def _repeats(model: ModelSpec, reach: tuple[Array, Array], ends: tuple[Array, Array]) -> tuple[Array, ...]:
    """Repeats of each block within the reach of each stage, and the ends where they belong."""
    inner: list[Array] = []
    start = 0.0
    for block in divided(model):
        end = start + block.repeats
        inner.append(np.clip(np.minimum(reach[1], end) - np.maximum(reach[0], start), 0.0, None))
        start = end
    if len(model.blocks) <= 2:
        return tuple(inner)
    return (ends[0] * model.blocks[0].repeats, *inner, ends[1] * model.blocks[-1].repeats)
