"""Samples to the curves that the cost model reads: ratios count, not seconds, and outliers little."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.kernels import fillings
from trainwright.hardware.device import DTYPE_BYTES, AttentionCurve, KernelRate, MatmulCurve, PassRate, ProductCurve
from trainwright.hardware.link import Collective, MeasuredCollective
from trainwright.probe.samples import (
    AttentionSample,
    KernelSample,
    LinkSample,
    MatmulSample,
    ProductSample,
    StreamSample,
)

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
    sides = np.array([sample.sides for sample in samples], dtype=float)
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


Points: TypeAlias = tuple[tuple[float, float], ...]


def stream_points(samples: Sequence[StreamSample], call_s: float) -> tuple[Points, Points, Points]:
    """(bytes touched, bytes per second) of each size, in a small and in a large step, and near; what a bare call costs
    is taken off.
    """

    def rate(touched_bytes: float, seconds: float) -> tuple[float, float]:
        return touched_bytes, touched_bytes / max(seconds - call_s, 0.2 * seconds)

    small, far, near = ([(s.touched_bytes, (s.seconds, s.far_s, s.near_s)[i]) for s in samples] for i in range(3))
    return tuple(rate(*at) for at in small), tuple(rate(*at) for at in far), tuple(rate(*at) for at in near)


def kernel_rates(samples: Sequence[KernelSample]) -> dict[str, KernelRate]:
    """Elements per second of each kind by size, what calls on nearly nothing (of kind "") take being taken off.

    >>> sample = KernelSample(kind="silu", n_elements=10**6, forward_s=1e-3, backward_s=2e-3)
    >>> kernel_rates([sample])["silu"].backward_per_s
    (500000000.0,)
    """
    found: dict[str, KernelRate] = {}
    calls = [sample for sample in samples if not sample.kind]
    ahead_s = statistics.median(sample.forward_s for sample in calls) if calls else 0.0
    back_s = statistics.median(sample.backward_s for sample in calls) if calls else 0.0
    for kind in dict.fromkeys(sample.kind for sample in samples if sample.kind):
        chosen = [sample for sample in samples if sample.kind == kind]
        sizes = sorted({sample.n_elements for sample in chosen})
        at = [[sample for sample in chosen if sample.n_elements == size] for size in sizes]
        found[kind] = KernelRate(
            elements=tuple(float(size) for size in sizes),
            forward_per_s=tuple(_per_s(same, [s.forward_s for s in same], ahead_s) for same in at),
            backward_per_s=tuple(_per_s(same, [s.backward_s for s in same], back_s) for same in at),
        )
    return found


def _per_s(same: Sequence[KernelSample], seconds: Sequence[float], call_s: float) -> float:
    """Where there is no gradient (0 s), a rate that costs nothing."""
    median = statistics.median(seconds)
    return same[0].n_elements / max(median - call_s, 0.2 * median, same[0].n_elements * 1e-15)


def product_curves(samples: Sequence[ProductSample], block: int) -> dict[str, dict[str, ProductCurve]]:
    """Curves by kind and dtype; ``block`` for the kinds that fill channels up."""
    found: dict[str, dict[str, ProductCurve]] = {}
    for kind, dtype in dict.fromkeys((sample.kind, sample.dtype) for sample in samples):
        same = [sample for sample in samples if (sample.kind, sample.dtype) == (kind, dtype)]
        own_block = block if kind in BLOCKED else 1
        asked = np.array([sample.flop for sample in same])
        filled = np.array([fillings(kind, sample.inner, sample.outer, own_block) for sample in same])
        moved, weights = [sample.moved_bytes for sample in same], [sample.weight_bytes for sample in same]
        seconds = [[s.forward_s, s.input_gradient_s, s.weight_gradient_s] for s in same]
        forward, input_gradient, weight_gradient = (
            pass_rate(np.array([np.ones(len(same)), flop, moved, weights]) * _told(kind)[:, None], each)
            for flop, each in zip((asked[:, None] * filled).T, np.array(seconds).T, strict=True)
        )
        found.setdefault(kind, {})[dtype] = ProductCurve(
            forward=forward,
            input_gradient=input_gradient,
            weight_gradient=weight_gradient,
            channel_block=own_block,
        )
    return found


def plain_products(samples: Sequence[MatmulSample], call_s: float) -> list[ProductSample]:
    """Matrix products as products of the kind "matmul", their passes side by side; a bare call's seconds taken off."""
    found: dict[tuple[str, int, int, int], dict[str, float]] = {}
    for sample in samples:
        seconds = max(sample.seconds - call_s, 0.2 * sample.seconds)
        found.setdefault((sample.dtype, sample.m, sample.n, sample.k), {})[f"{sample.layout}_s"] = seconds
    return [
        ProductSample(
            kind="matmul",
            dtype=dtype,
            inner=1,
            outer=1,
            flop=2.0 * m * n * k,
            moved_bytes=DTYPE_BYTES[dtype] * m * (n + k),
            weight_bytes=DTYPE_BYTES[dtype] * n * k,
            **passes,
        )
        for (dtype, m, n, k), passes in found.items()
    ]


def _told(kind: str) -> Array:
    """Which of (calls, FLOP, bytes, weights' bytes) so few shapes can tell apart: 1 or 0 each."""
    if kind in ("convolution", "strided_convolution", "matmul"):
        return np.ones(4)
    if kind == "lstm":
        return np.array([0.0, 1.0, 1.0, 1.0])
    return np.array([0.0, 1.0, 1.0, float(kind.endswith("_last"))])


BLOCKED = ("convolution", "strided_convolution", "transposed_convolution")


def pass_rate(design: Array, seconds: Array) -> PassRate:
    """The rates of PassRate from calls, FLOP, bytes and weights' bytes (4, samples); relative errors, none negative.

    >>> design = np.array([[1.0] * 5, [1e9, 2e9, 1e8, 5e8, 1e7], [1e6, 8e6, 9e6, 1e6, 2e6], [1e6, 1e5, 2e4, 8e6, 1e3]])
    >>> rate = pass_rate(design, 2e-5 + design[1] / 1e11 + design[2] / 1e10 + design[3] / 5e9)
    >>> round(rate.flop_per_s / 1e9), round(rate.bytes_per_s / 1e9), round(rate.weight_bytes_per_s / 1e9)
    (100, 10, 5)
    """
    scale = np.maximum(design.max(axis=1), 1e-30)
    columns = design / scale[:, None] / seconds
    weight: Array = np.ones(len(seconds))
    found: Array = np.zeros(4)
    for _ in range(6):  # towards least absolute errors, so that one disturbed reading counts little
        found = _not_negative(columns * np.sqrt(weight), np.sqrt(weight))
        weight = 1.0 / np.maximum(np.abs(found @ columns - 1.0), 0.05)
    call_s, flop_s, byte_s, weight_s = found / scale
    return PassRate(
        call_s=float(call_s),
        flop_per_s=float(1.0 / max(flop_s, 1e-16)),
        bytes_per_s=float(1.0 / max(byte_s, 1e-14)),
        weight_bytes_per_s=float(1.0 / max(weight_s, 1e-14)),
    )


def _not_negative(columns: Array, target: Array) -> Array:
    """Least squares without negative coefficients: of all sets of columns the best whose solution is positive.

    Lawson and Hanson, Solving least squares problems, 1974, chapter 23; with four columns all sets can be tried.
    """
    best: Array = np.zeros(len(columns))
    least = float("inf")
    told = [i for i, column in enumerate(columns) if np.any(column)]
    for chosen in range(1, 2 ** len(told)):
        kept = [i for n, i in enumerate(told) if chosen >> n & 1]
        solution = np.asarray(np.linalg.lstsq(columns[kept].T, target, rcond=None)[0], dtype=float)
        error = float(np.sum((solution @ columns[kept] - target) ** 2))
        if np.all(solution >= 0) and error < least:
            least, best = error, np.zeros(len(columns))
            best[kept] = solution
    return best


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
