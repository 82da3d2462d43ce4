"""What one device sees of a micro-batch, and how it calculates: what every cost of a block is a function of."""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.cost.stack import Stack
from trainwright.hardware.device import DTYPE_BYTES, Device
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
    """How numbers are kept and multiplied: ``low`` dtype of the wide matmuls, ``base`` of everything else."""

    low: str
    base: str
    device: Device
    stack: Stack
    lora: bool = False

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
        return 4.0 if self.casts else self.base_bytes
