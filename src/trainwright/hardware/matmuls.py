"""The best matrix products that anybody published: what a device really reaches of its datasheet."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from trainwright.hardware import catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class BestMatmul:
    """The fastest published (m, k) x (k, n) of one device and dtype."""

    device: str
    dtype: str
    flop_per_s: float
    m: int
    n: int
    k: int
    source: str


@functools.cache
def _table() -> tuple[BestMatmul, ...]:
    return tuple(
        BestMatmul(
            device=raw["device"], dtype=raw["dtype"], flop_per_s=raw["tflops"] * 1e12,
            m=raw["m"], n=raw["n"], k=raw["k"], source=raw["source"],
        )
        for raw in catalogue.load_toml(catalogue.DATA / "matmuls.toml")["matmul"]
    )  # fmt: skip


def best_matmuls(device: str) -> tuple[BestMatmul, ...]:
    """The best published matmuls of a device, one a dtype; none when nobody published any.

    >>> [(best.dtype, best.flop_per_s / 1e12) for best in best_matmuls("A100-SXM-80GB")]
    [('bf16', 271.2), ('fp16', 293.03)]
    """
    return tuple(best for best in _table() if best.device == device)
