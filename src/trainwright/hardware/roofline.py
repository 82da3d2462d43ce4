"""The roofline of a device: the most FLOP/s it can do at each arithmetic intensity.

Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore
architectures", Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.hardware.device import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """min(peak, intensity x bandwidth), as the datasheet has it. Ignores caches and what kernels really reach."""

    name: str
    dtype: str
    flop_per_s: float
    bytes_per_s: float

    @property
    def ridge_flop_per_byte(self) -> float:
        """The intensity from which compute, not memory, is the limit."""
        return self.flop_per_s / self.bytes_per_s

    def at(self, flop_per_byte: float) -> float:
        """The most FLOP/s at this intensity.

        >>> Roofline(name="A", dtype="bf16", flop_per_s=300e12, bytes_per_s=2e12).at(10)
        20000000000000.0
        """
        return min(self.flop_per_s, flop_per_byte * self.bytes_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Landmark:
    """A well-known kernel and its intensity in 16 bits, operands read and written once."""

    name: str
    flop_per_byte: float


LANDMARKS = (
    Landmark(name="add two tensors", flop_per_byte=1 / 6),
    Landmark(name="matrix x vector", flop_per_byte=1.0),
    Landmark(name="layer norm", flop_per_byte=8 / 4),
    Landmark(name="matmul of 512", flop_per_byte=512 / 3),
    Landmark(name="matmul of 4096", flop_per_byte=4096 / 3),
)
"""n x n matmul: 2 n^3 FLOP over 3 n^2 x 2 bytes = n / 3; layer norm: about 8 FLOP an element, read and written."""


def training_dtype(device: Device) -> str:
    """The fastest of the dtypes one would train in without tricks: bf16, fp16, else fp32."""
    return next(dtype for dtype in ("bf16", "fp16", "fp32", *device.flop_per_s) if dtype in device.flop_per_s)


def roofline(device: Device, dtype: str | None = None) -> Roofline:
    """The roofline of a device in a dtype (None: what one would train in)."""
    chosen = dtype or training_dtype(device)
    return Roofline(
        name=device.name, dtype=chosen, flop_per_s=device.flop_per_s[chosen], bytes_per_s=device.memory_bytes_per_s
    )
