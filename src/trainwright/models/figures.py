"""The figures people ask of a model: parameters, FLOP a token, what a token keeps in memory."""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.models.flop import backward_flop, forward_flop
from trainwright.models.saved import HALF, op_saved_bytes
from trainwright.models.spec import Attention, Matmul, ModelSpec, Op

BF16_BYTES = 2.0
USUAL_SEQUENCE = 2048
"""Where nobody says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of one model at one sequence length, per token (per image where the unit is images).

    ``active_parameters``: those a token passes; of experts only the chosen ones. FLOP count causal attention whole.
    ``saved_bytes``: kept from forward to backward, parameters in bf16, nothing recomputed. ``kv_cache_bytes``: kept
    while decoding, bf16; windows are not taken off.
    """

    seq: int
    parameters: int
    active_parameters: int
    forward_flop: float
    backward_flop: float
    saved_bytes: float
    kv_cache_bytes: float
    kernels: int
    backward_kernels: int


def figures(model: ModelSpec, seq: int) -> Figures:
    """The figures of a model at a sequence length.

    >>> from trainwright.models.catalogue import model
    >>> found = figures(model("mixtral-8x7b"), 4096)
    >>> round(found.parameters / 1e9, 1), round(found.active_parameters / 1e9, 1), found.kv_cache_bytes
    (46.7, 12.9, 131072.0)
    """
    ops = [(op, block.repeats) for block in model.blocks for op in block.ops]
    units = 1 if model.unit == "images" else seq
    idle = sum(repeats * _idle_parameters(op) for op, repeats in ops)
    return Figures(
        seq=seq,
        parameters=model.n_parameters,
        active_parameters=model.n_parameters - idle,
        forward_flop=float(forward_flop(model, 1, seq)) / units,
        backward_flop=float(backward_flop(model, 1, seq)) / units,
        saved_bytes=float(sum(repeats * op_saved_bytes(op, 1, seq, HALF) for op, repeats in ops)) / units,
        kv_cache_bytes=BF16_BYTES * sum(repeats * _cached(op) for op, repeats in ops),
        kernels=sum(repeats * op.n_kernels for op, repeats in ops),
        backward_kernels=sum(repeats * op.backward_kernels for op, repeats in ops),
    )


def _idle_parameters(op: Op) -> int:
    if not isinstance(op, Matmul):
        return 0
    return op.n_parameters * (op.n_experts - op.experts_per_token) // op.n_experts


def _cached(op: Op) -> int:
    if not isinstance(op, Attention) or not op.causal:
        return 0
    return op.n_kv_heads * (op.qk_dim + op.v_dim) if op.cached is None else op.cached
