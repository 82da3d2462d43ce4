"""What one device sees of a micro-batch, and how it calculates: what every cost of a block is a function of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trainwright.cost.stack import Stack
from trainwright.hardware.device import DTYPE_BYTES, Device
from trainwright.models.spec import Attention, Block, Lookup, Matmul
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """What one device sees of a micro-batch: ``batch`` samples of ``seq`` tokens, cut over tp, cp and ep."""

    batch: Number
    seq: float
    tp: Number = 1.0
    cp: Number = 1.0
    ep: Number = 1.0
    sequence_parallel: bool = False

    @property
    def local_seq(self) -> Number:
        """Tokens of a sample on one device."""
        return self.seq / self.cp

    @property
    def tokens_split(self) -> Number:
        """How many ways tp divides work that has no weights to divide: tp with sequence parallel, else not."""
        return self.tp if self.sequence_parallel else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """How numbers are kept and multiplied: ``low`` dtype of the wide matmuls, ``base`` of everything else.

    ``four_bits``: the blocks' weights are kept in 4 bits and made wide for each product.
    ``narrow``: under autocast, whether what flows between products stays in 16 bits.
    """

    low: str
    base: str
    device: Device
    stack: Stack
    lora: bool = False
    four_bits: bool = False
    narrow: bool = False

    @property
    def base_bytes(self) -> float:
        """Bytes of an activation."""
        return DTYPE_BYTES[self.base]

    @property
    def casts(self) -> bool:
        """Whether products read 16-bit copies of what is kept in fp32 (autocast)."""
        return self.stack.autocast and self.base_bytes == 2.0

    @property
    def wide_bytes(self) -> float:
        """Bytes of an activation outside products and what lies between them: of the residual stream."""
        return 4.0 if self.casts and not self.narrow else self.base_bytes

    @property
    def by_kernel(self) -> bool:
        """Whether each eager kernel of a GPU is priced, and not what published networks of the stack took in all."""
        return self.device.kind == "gpu" and self.stack.convolution == "kernel" and not self.stack.fused

    def within(self, block: Block) -> Arithmetic:
        """The same inside a block. Convolutions and batch norms hand on 16 bits; layer norms make fp32 of them."""
        is_narrow = self.casts and self.device.kind == "gpu" and _is_convolutional(block)
        return replace(self, narrow=True) if is_narrow else self


def _is_convolutional(block: Block) -> bool:
    """Whether a block's products are convolutions, with nothing between them that autocast takes in fp32."""
    has_any = any(isinstance(op, Matmul) and op.is_convolution for op in block.ops)
    return has_any and not any(isinstance(op, Attention | Lookup) or op.kernel in WIDE for op in block.ops)


WIDE = ("layer_norm", "group_norm")
"""Kinds of norms that autocast takes in fp32. Source: torch.amp's lists of ops."""
