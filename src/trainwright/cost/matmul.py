"""Seconds of one matrix product on a device: roofline, saturation, tiles and waves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from trainwright.cost.pointwise import stream_s
from trainwright.errors import unknown_name
from trainwright.hardware.device import DTYPE_BYTES, Device, MatmulCurve
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

    t = max(flop / (peak share(m, n, k)), bytes / bandwidth, launch)

    Ignores operand layout and what a cache keeps from the op before.
    Source: roofline, Williams et al., CACM 52(4), 2009; waves, NeuSight, ASPLOS 2025.
    """
    peak = peak_flop_per_s(device, dtype)
    arithmetic_s = product.flop / (peak * matmul_share(product, curve(device.efficiency.matmul, dtype)))
    return np.maximum(arithmetic_s, stream_s(product.elements * DTYPE_BYTES[dtype], device))


def matmul_share(product: Product, shape: MatmulCurve) -> Number:
    """Share of the peak rate that a product of this shape reaches.

    best * m/(m + half_m) * n/(n + half_n) * k/(k + half_k) * filled tiles * filled waves

    >>> float(matmul_share(Product(m=128.0, n=128.0, k=512.0), MatmulCurve(best=0.9, half_k=512.0)))
    0.45
    """
    saturation = (
        product.m / (product.m + shape.half_m) * product.n / (product.n + shape.half_n) * product.k
    ) / (product.k + shape.half_k)  # fmt: skip
    rows, columns = np.ceil(product.m / shape.tile_m), np.ceil(product.n / shape.tile_n)
    in_tiles = product.m * product.n / (rows * shape.tile_m * columns * shape.tile_n)
    waves = rows * columns * product.count / shape.n_units
    filled: Number = shape.best * saturation * in_tiles * waves / np.ceil(waves)
    return filled


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
