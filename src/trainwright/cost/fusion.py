"""What a pointwise op costs in software that fuses it into one kernel, and in a GPU's eager kernels.

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


NORM_PASSES = {"batch_norm": (3.0, 5.0), "group_norm": (3.0, 5.0), "layer_norm": (2.0, 5.0)}
"""Times that a GPU's eager kernels go over the elements of a norm, forward and backward. What spans more than a row is
summed in a pass of its own before anything is written, and so are the gradients of scale and shift, from input and
gradient. Source: PyTorch, aten/src/ATen/native/cuda: Normalization.cuh, group_norm_kernel.cu, layer_norm_kernel.cu."""


@lru_cache(maxsize=1024)
def in_passes(op: Pointwise) -> Pointwise:
    """The op as a GPU's eager kernels do it, where a spec counts each tensor once (NORM_PASSES).

    >>> from trainwright.models.ops import norm
    >>> op = in_passes(norm("norm", 8, "layer"))
    >>> op.reads + op.writes, op.backward_reads + op.backward_writes
    (2.0, 5.0)
    """
    if op.kernel not in NORM_PASSES:
        return op
    forward, backward = NORM_PASSES[op.kernel]
    return replace(
        op,
        reads=max(op.reads, forward - op.writes),
        backward_reads=max(op.backward_reads, backward - op.backward_writes),
    )


SCATTERED = ("layer_norm", "max_pool", "avg_pool", "upsample", "upsample_linear", "index", "gather")
"""Kinds of kernels that add up rows or read elements from afar; a batch norm's channels are long enough to stream."""


def is_scattered(op: Pointwise) -> bool:
    """Whether eager kernels read an op's elements otherwise than in a row: sums, pools, copies into another order.

    Such kernels reach the share of a stream that ``Efficiency.reduction`` tells.

    >>> from trainwright.models.ops import activation, norm
    >>> is_scattered(norm("norm", 8, "layer")), is_scattered(activation("activation", 8, "gelu", gated=False))
    (True, False)
    """
    is_sum = op.writes < 0.5 * op.reads
    is_copy = op.reads == op.writes and op.backward_reads == op.backward_writes > 0 and not op.kernel
    return op.kernel in SCATTERED or is_sum or is_copy


def _accesses(op: Pointwise) -> tuple[float, float, float, float]:
    if op.name.endswith("norm"):
        return 1.0, 1.0, 2.0, 1.0
    if op.name.endswith("activation"):
        gated = op.n_kernels == 2  # one for the function, one for the product
        return (2.0, 1.0, 3.0, 2.0) if gated else (1.0, 1.0, 2.0, 1.0)
    if op.name == "rotary":
        return 1.0, 1.0, 1.0, 1.0
    return 2.0, 1.0, 1.0, 1.0
