"""How weights are stored for serving, and in which format their products run."""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.hardware.device import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """``bits`` of a weight in a block, scales included; ``multiply``: formats of the products, best first.

    ``whole``: embeddings and head are stored so too (else they stay in 16 bits, or in 32 where everything is).
    ``wide``: bytes of an activation.
    """

    name: str
    bits: float
    multiply: tuple[str, ...]
    whole: bool = False
    wide: float = 2.0
    source: str = ""

    @property
    def end_bits(self) -> float:
        """Bits of a weight of the embedding or the head."""
        return self.bits if self.whole else 16.0


FORMATS = (
    WeightFormat(name="fp32", bits=32.0, multiply=("fp32",), whole=True, wide=4.0, source="IEEE 754"),
    WeightFormat(name="bf16", bits=16.0, multiply=("bf16", "fp16", "fp32"), whole=True, source="IEEE 754, cut"),
    WeightFormat(name="fp16", bits=16.0, multiply=("fp16", "bf16", "fp32"), whole=True, source="IEEE 754"),
    WeightFormat(
        name="fp8", bits=8.0, multiply=("fp8", "bf16", "fp16"), source="Micikevicius et al., arXiv:2209.05433"
    ),
    WeightFormat(name="int8", bits=8.1, multiply=("int8", "fp16"), source="Xiao et al., SmoothQuant, arXiv:2211.10438"),
    WeightFormat(
        name="int4", bits=4.25, multiply=("fp16", "bf16", "fp32"), source="AWQ, groups of 128: arXiv:2306.00978"
    ),
    WeightFormat(name="fp4", bits=4.5, multiply=("fp4", "fp8", "bf16"), source="NVFP4, groups of 16; OCP MX v1.0"),
    WeightFormat(
        name="q8_0",
        bits=8.5,
        multiply=("fp16", "bf16", "fp32"),
        whole=True,
        source="llama.cpp ggml-common.h: 32 + 2 bytes",
    ),
    WeightFormat(
        name="q4_k_m",
        bits=4.9,
        multiply=("fp16", "bf16", "fp32"),
        whole=True,
        source="llama.cpp quantize: 4.92 GB of Llama 3 8B's file over 8.03e9 weights",
    ),
)
"""int4 and the q formats are unpacked before the product, which runs in 16 bits."""


def weight_format(name: str) -> WeightFormat:
    """The format of that name.

    >>> weight_format("int4").bits
    4.25
    """
    for known in FORMATS:
        if known.name == name:
            return known
    raise unknown_name("weight format", name, [known.name for known in FORMATS])


def multiply_dtype(stored: WeightFormat, device: Device) -> str:
    """The format the device multiplies these weights in: the best of those it has a rate for."""
    for dtype in stored.multiply:
        if dtype in device.flop_per_s:
            return dtype
    raise InvalidInputError(
        f"{device.name} multiplies in none of {', '.join(stored.multiply)}, which {stored.name} weights need",
        hint=f"it has {', '.join(device.flop_per_s)}",
    )


def base_dtype(stored: WeightFormat, device: Device) -> str:
    """The format of activations, attention and head: as the device has it."""
    wanted = ("fp32",) if stored.wide == 4.0 else ("fp16", "bf16") if stored.name == "fp16" else ("bf16", "fp16")
    return next((dtype for dtype in (*wanted, "fp32") if dtype in device.flop_per_s), next(iter(device.flop_per_s)))
