"""Samples to the curves that the cost model reads: ratios count, not seconds, and outliers little."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainwright.hardware.device import AttentionCurve, MatmulCurve
from trainwright.hardware.link import Collective, MeasuredCollective
from trainwright.probe.samples import AttentionSample, LinkSample, MatmulSample, StreamSample

Array: TypeAlias = NDArray[np.float64]

CPU_KEY_BLOCK = 512
"""Keys a causal CPU kernel takes at once (kvSplitSize of torch 2.13, aten/native/cpu/FlashAttentionKernel.cpp)."""


def matmul_curve(samples: Sequence[MatmulSample]) -> tuple[float, MatmulCurve]:
    """(peak FLOP/s, curve) of one dtype: the peak is the best rate seen.

    >>> rate = lambda m: 100e9 * m / (m + 8)
    >>> fake = [MatmulSample(dtype="fp32", m=m, n=512, k=512, layout="forward", seconds=2.0 * m * 2**18 / rate(m))
    ...         for m in (16, 64, 256, 1024)]
    >>> peak, curve = matmul_curve(fake)
    >>> round(peak / 1e9), round(curve.half_m)
    (99, 8)
    """
    sides = np.array([(sample.m, sample.n, sample.k) for sample in samples], dtype=float)
    rates = np.array([sample.flop_per_s for sample in samples])
    peak = float(rates.max())

    def shape(halves: Array) -> Array:
        factors: Array = np.prod(sides / (sides + halves), axis=1)
        return factors

    best, halves = _fit(rates, shape, (128.0, 128.0, 128.0))
    half_m, half_n, half_k = (float(half) for half in halves)
    return peak, MatmulCurve(best=best / peak, half_m=half_m, half_n=half_n, half_k=half_k, source="probe")


def attention_curve(samples: Sequence[AttentionSample], key_block: int) -> AttentionCurve:
    """The curve of one dtype, fitted forward and backward apart."""
    flop = np.array([_attention_flop(sample, key_block) for sample in samples])
    heads = np.array([float(sample.n_heads) for sample in samples])
    dims = np.array([float(sample.head_dim) for sample in samples])

    def shape(halves: Array) -> Array:
        return np.asarray(flop / (flop + heads * halves[0] * 1e6) * dims / (dims + halves[1]))

    forward, ahead = _fit(flop / np.array([s.forward_s for s in samples]), shape, ATTENTION_HALVES)
    backward, back = _fit(2.5 * flop / np.array([s.backward_s for s in samples]), shape, ATTENTION_HALVES)
    return AttentionCurve(
        forward_flop_per_s=forward,
        backward_flop_per_s=backward,
        forward_head_flop=float(ahead[0]) * 1e6,
        forward_half_dim=float(ahead[1]),
        backward_head_flop=float(back[0]) * 1e6,
        backward_half_dim=float(back[1]),
        key_block=key_block,
    )


ATTENTION_HALVES = (16.0, 64.0)
"""The most that may be found: MFLOP that starting a head costs, and the head dimension of half the rate."""


def _attention_flop(sample: AttentionSample, key_block: int) -> float:
    seen = min(1.0, (sample.seq + key_block) / (2.0 * sample.seq))
    return 4.0 * sample.n_heads * sample.seq**2 * sample.head_dim * seen


def stream_points(samples: Sequence[StreamSample], call_s: float) -> tuple[tuple[float, float], ...]:
    """(bytes touched, bytes per second), what a bare call costs taken off; each the median of it and its neighbours."""
    rates = [s.touched_bytes / max(s.seconds - call_s, 0.2 * s.seconds) for s in samples]
    padded = [rates[0], *rates, rates[-1]]
    return tuple((s.touched_bytes, statistics.median(padded[i : i + 3])) for i, s in enumerate(samples))


def collectives(samples: Sequence[LinkSample]) -> dict[Collective, tuple[MeasuredCollective, ...]]:
    """Tables by kind, of means; a larger message never takes less."""
    kinds: tuple[Collective, ...] = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "p2p")
    tables: dict[Collective, tuple[MeasuredCollective, ...]] = {}
    for kind in kinds:
        chosen = sorted((s for s in samples if s.kind == kind), key=lambda s: s.message_bytes)
        if chosen:
            seconds = np.maximum.accumulate([s.mean_s for s in chosen])
            table = MeasuredCollective(
                n_ranks=chosen[0].n_ranks,
                message_bytes=tuple(s.message_bytes for s in chosen),
                seconds=tuple(float(s) for s in seconds),
            )
            tables[kind] = (table,)
    return tables


def line(table: MeasuredCollective) -> tuple[float, float]:
    """(latency in s, bytes per s) of a straight line through the table, relative errors counted.

    >>> t = MeasuredCollective(n_ranks=2, message_bytes=(1e3, 1e6, 1e8), seconds=(1.1e-5, 1.01e-3, 0.10001))
    >>> latency, rate = line(t)
    >>> round(1e6 * latency), round(rate / 1e9, 3)
    (10, 1.0)
    """
    size, seconds = np.array(table.message_bytes), np.array(table.seconds)
    design = np.stack([1.0 / seconds, size / seconds], axis=1)
    solution, *_ = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)
    latency, per_byte = float(solution[0]), float(solution[1])
    return max(latency, float(seconds[0]) * 0.1), 1.0 / max(per_byte, 1e-13)


def _fit(rates: Array, shape: Callable[[Array], Array], most: tuple[float, ...]) -> tuple[float, Array]:
    """(best, halves) so that best * shape(halves) is near the rates, one half (up to its most) at a time.

    Other work on the machine only ever slows, so a rate below the fit counts less than one above: the quantile TRUSTED
    of the ratios instead of their median (pinball loss; Koenker and Bassett, Econometrica 46(1), 1978).
    """
    halves = np.zeros(len(most))

    def error(trial: Array) -> float:
        ratio = np.log(rates / shape(trial))
        off = ratio - np.quantile(ratio, TRUSTED)
        return float(np.mean(np.maximum(TRUSTED * off, (TRUSTED - 1.0) * off)))

    for _ in range(6):
        for i, limit in enumerate(most):
            grid = np.concatenate([[0.0], np.geomspace(limit / 512.0, limit, 37)])
            trials = [np.where(np.arange(len(most)) == i, half, halves) for half in grid]
            halves = min(trials, key=error)
    return float(np.exp(np.quantile(np.log(rates / shape(halves)), TRUSTED))), halves


TRUSTED = 0.65
