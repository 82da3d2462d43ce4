"""Seconds of one matrix product on a device: roofline, saturation, tiles and waves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.numbers import larger
from trainwright.cost.pointwise import stream_bytes_per_s
from trainwright.errors import unknown_name
from trainwright.hardware.device import DTYPE_BYTES, TILES, Device, MatmulCurve
from trainwright.units import Number

Entry = TypeVar("Entry")

_RELATIVES = {
    "fp64": ("fp32",),
    "fp32": ("tf32", "bf16"),
    "tf32": ("bf16", "fp16", "fp32"),
    "bf16": ("fp16", "tf32", "fp32"),
    "fp16": ("bf16", "tf32", "fp32"),
    "fp8": ("bf16", "fp16"),
    "fp4": ("fp8", "bf16"),
    "int8": ("fp8", "bf16", "fp16"),
    "int4": ("int8", "fp8", "bf16"),
}
"""Whose curve a dtype borrows when it has none of its own, nearest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """(m, k) x (k, n), done ``count`` times in one kernel. Counts may be arrays.

    >>> Product(m=4.0, k=2.0, n=3.0).flop
    48.0
    """

    m: Number
    n: Number
    k: Number
    count: Number = 1.0

    @property
    def flop(self) -> Number:
        """2 m n k count."""
        return 2.0 * self.m * self.n * self.k * self.count

    @property
    def elements(self) -> Number:
        """Elements read and written once: m k + k n + m n, for each of ``count``."""
        return (self.m * self.k + self.k * self.n + self.m * self.n) * self.count

    @property
    def input_gradient(self) -> Product:
        """dX = dY W^T: (m, n) x (n, k)."""
        return Product(m=self.m, n=self.k, k=self.n, count=self.count)

    @property
    def weight_gradient(self) -> Product:
        """dW = X^T dY: (k, m) x (m, n)."""
        return Product(m=self.k, n=self.n, k=self.m, count=self.count)


def matmul_s(product: Product, dtype: str, device: Device) -> Number:
    """Seconds of one product, on the device alone (the host's dispatch is counted by the step).

    t = launch + max(tiles' waves, traffic * bytes / bandwidth); a CPU has no launch.

    Ignores operand layout and what a cache keeps from the op before.
    Source: roofline, Williams et al., CACM 52(4), 2009; tiles and waves, NeuSight, arXiv:2407.13853, section 4.
    """
    shape = curve(device.efficiency.matmul, dtype)
    n_units = device.n_units if device.kind == "gpu" and device.n_units else shape.n_units
    tiles_s = product.flop / (peak_flop_per_s(device, dtype) * matmul_share(product, shape, n_units))
    bytes_s = shape.traffic * product.elements * DTYPE_BYTES[dtype] / stream_bytes_per_s(device, product.elements * 2.0)
    launch_s = 0.0 if device.kind == "cpu" else device.launch_s
    return launch_s + larger(tiles_s, bytes_s)


def matmul_share(product: Product, shape: MatmulCurve, n_units: float) -> Number:
    """Share of the peak rate that a product of this shape reaches, memory aside: that of its fastest tile.

    One tile of a x b on one of u units takes 2 a b (k + half_k) u / (peak best side/(side + half_side)) seconds, with
    side = a b/(a + b); t tiles take w = wave ceil(t/u) + (1 - wave) max(t/u, 1) times that.

    >>> square = Product(m=128.0, n=128.0, k=512.0)
    >>> float(matmul_share(square, MatmulCurve(best=0.9, half_k=512.0), 1))
    0.45
    >>> curve = MatmulCurve(best=0.9, tiles="tensor", batched_tile=128, wave=1.0)
    >>> float(matmul_share(Product(m=128.0, n=128.0, k=512.0, count=5.0), curve, 4))  # two waves for five tiles on four
    0.5625
    """
    share = _tiled_share(product, shape, n_units, TILES[shape.tiles])
    if shape.batched_tile is not None:
        fixed = _tiled_share(product, shape, n_units, ((shape.batched_tile, shape.batched_tile),))
        share = np.where(np.asarray(product.count) > 1, fixed, share)
    return share * product.m / (product.m + shape.half_m) * product.n / (product.n + shape.half_n)


def _tiled_share(product: Product, shape: MatmulCurve, n_units: float, tiles: tuple[tuple[int, int], ...]) -> Number:
    if isinstance(product.flop, float):
        return _tiled_share_of_one(product, shape, n_units, tiles)
    rows, columns, side = _sides(tiles, np.ndim(product.flop))
    load = np.ceil(product.m / rows) * np.ceil(product.n / columns) * product.count / n_units
    waves = shape.wave * np.ceil(load) + (1.0 - shape.wave) * np.maximum(load, 1.0)
    useful = product.m * product.n * product.count / (rows * columns * n_units * waves)
    best: Number = np.max(useful * side / (side + shape.half_side), axis=0)
    return shape.best * best * product.k / (product.k + shape.half_k)


def _tiled_share_of_one(
    product: Product, shape: MatmulCurve, n_units: float, tiles: tuple[tuple[int, int], ...]
) -> float:
    """The same of one product, in plain numbers."""
    m, n, k = float(product.m), float(product.n), float(product.k)
    per_unit, wave, rest, half_side = float(product.count) / n_units, shape.wave, 1.0 - shape.wave, shape.half_side
    best = 0.0
    for rows, columns in tiles:
        area = rows * columns
        load = ceil(m / rows) * ceil(n / columns) * per_unit
        waves = wave * ceil(load) + rest * (load if load > 1.0 else 1.0)
        share = 1.0 / (waves * (area + half_side * (rows + columns)))
        best = share if share > best else best
    return shape.best * best * m * n * per_unit * k / (k + shape.half_k)


@cache
def _sides(tiles: tuple[tuple[int, int], ...], n_dims: int) -> tuple[NDArray[np.float64], ...]:
    """Rows, columns, and side of each tile, ahead of so many dimensions."""
    rows, columns = np.array(tiles, dtype=float).T.reshape(2, -1, *(1,) * n_dims)
    return rows, columns, rows * columns / (rows + columns)


def peak_flop_per_s(device: Device, dtype: str) -> float:
    """The dense peak of the device for this dtype."""
    if dtype not in device.flop_per_s:
        raise unknown_name(f"dtype of {device.name}", dtype, device.flop_per_s)
    return device.flop_per_s[dtype]


def curve(curves: Mapping[str, Entry], dtype: str) -> Entry:
    """The entry for this dtype, or its nearest relative's.

    >>> curve({"bf16": 1, "fp32": 2}, "fp8")
    1
    """
    for candidate in (dtype, *_RELATIVES[dtype], *curves):
        if candidate in curves:
            return curves[candidate]
    raise unknown_name("dtype", dtype, curves)
