"""What a pointwise op costs in software that fuses it into one kernel.

A model's spec counts what eager PyTorch launches; fused kernels (Apex, Transformer Engine, flash-attention's, or a
compiler's) read each input and write each output once. Ops are known by the names in models/spec.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from trainwright.models.spec import Pointwise


@lru_cache(maxsize=1024)
def fused(op: Pointwise) -> Pointwise:
    """The op as one kernel forward and one backward (two for a norm with weights).

    Accesses per element: norm 2 forward, 3 backward; rotary 2 and 2; residual 3 and 2; activation 2 and 3, gated 3
    and 5. Source: each distinct tensor once, Ivanov et al., "Data movement is all you need", MLSys 2021.

    >>> from trainwright.models.ops import activation, norm
    >>> op = fused(norm("mlp_norm", 8, "rms"))
    >>> op.n_kernels, op.reads + op.writes, op.backward_reads + op.backward_writes
    (1, 2.0, 3.0)
    >>> fused(activation("activation", 8, "silu", gated=True)).reads
    2.0
    """
    reads, writes, backward_reads, backward_writes = _accesses(op)
    return replace(
        op,
        n_kernels=1,
        backward_kernels=min(op.backward_kernels, 2 if op.n_parameters else 1),
        reads=min(op.reads, reads),
        writes=min(op.writes, writes),
        backward_reads=min(op.backward_reads, backward_reads),
        backward_writes=min(op.backward_writes, backward_writes),
        upcast=False,
    )


def _accesses(op: Pointwise) -> tuple[float, float, float, float]:
    if op.name.endswith("norm"):
        return 1.0, 1.0, 2.0, 1.0
    if op.name.endswith("activation"):
        gated = op.n_kernels == 2  # one for the function, one for the product
        return (2.0, 1.0, 3.0, 2.0) if gated else (1.0, 1.0, 2.0, 1.0)
    if op.name == "rotary":
        return 1.0, 1.0, 1.0, 1.0
    return 2.0, 1.0, 1.0, 1.0
