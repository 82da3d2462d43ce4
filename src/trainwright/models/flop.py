"""FLOP of a forward and a backward pass: matrix products and attention, as torch's counter counts them."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from trainwright.models.spec import Attention, Matmul, ModelSpec, Op
from trainwright.units import Number


def forward_flop(model: ModelSpec, batch: Number, seq: Number, *, causal_half: bool = False) -> Number:
    """FLOP of one forward over ``batch`` samples of ``seq`` tokens: 2 m n k a product, an FMA being two.

    Causal attention counts whole, as ``torch.utils.flop_counter`` does, unless ``causal_half``. Ignores everything
    but products: norms, activations and softmax are below 1 %.

    >>> from trainwright.models.catalogue import model
    >>> round(forward_flop(model("llama-3-8b"), 1, 4096) / 1e12, 2)  # measured by torch: 70.27
    70.27
    """
    blocks = model.blocks
    flops = (op_forward_flop(op, batch, seq, causal_half) * block.repeats for block in blocks for op in block.ops)
    return sum(flops, start=0.0)


def backward_flop(
    model: ModelSpec, batch: Number, seq: Number, *, causal_half: bool = False, flash: bool = True
) -> Number:
    """FLOP of one backward: two products for each of the forward, one where the input needs no gradient.

    Flash attention's backward does five products for the forward's two (Dao et al., arXiv:2205.14135, Algorithm 4);
    attention that kept its scores (``flash`` False) does four.

    >>> from trainwright.models.catalogue import model
    >>> round(backward_flop(model("llama-3-8b"), 1, 4096) / 1e12, 2)  # measured by torch: 144.95
    144.95
    """
    blocks = model.blocks
    flops = (
        op_backward_flop(op, batch, seq, causal_half, flash) * block.repeats for block in blocks for op in block.ops
    )
    return sum(flops, start=0.0)


@singledispatch
def op_forward_flop(op: Op, batch: Number, seq: Number, causal_half: bool = False) -> Number:
    """FLOP of one op's forward; 0 but for products."""
    return 0.0


@op_forward_flop.register(Matmul)
def _(op: Matmul, batch: Number, seq: Number, causal_half: bool = False) -> Number:
    return 2.0 * op.rows.at(batch, seq) * op.n * op.k * op.count * op.experts_per_token


@op_forward_flop.register(Attention)
def _(op: Attention, batch: Number, seq: Number, causal_half: bool = False) -> Number:
    pairs = batch * op.queries.at(1, seq) * op.keys.at(1, seq)
    share = op_causal_share(op, seq) if causal_half else 1.0
    return 2.0 * pairs * op.n_heads * (op.qk_dim + op.v_dim) * share


def op_causal_share(op: Attention, seq: Number) -> Number:
    """The share of query-key pairs that a causal, windowed mask leaves: about half, w / s - w^2 / 2 s^2 in a window.

    >>> from trainwright.models.ops import self_attention
    >>> from trainwright.models.shape import Shape
    >>> op = self_attention(Shape(layers=1, hidden=64, heads=4, vocabulary=10), window=1024)
    >>> float(op_causal_share(op, 1024)), float(op_causal_share(op, 4096))
    (0.5, 0.21875)
    """
    reach: Number = 1.0 if op.window is None else np.minimum(op.window / np.asarray(seq, dtype=float), 1.0)
    return reach - reach * reach / 2 if op.causal else reach


def op_backward_flop(op: Op, batch: Number, seq: Number, causal_half: bool = False, flash: bool = True) -> Number:
    """FLOP of one op's backward."""
    forward = op_forward_flop(op, batch, seq, causal_half)
    if isinstance(op, Attention):  # flash: q k^T again, and four gradients
        again = op.qk_dim / (op.qk_dim + op.v_dim) if flash else 0.0
        return forward * (2.0 + again)
    return forward * ((0 if op.frozen_input else 1) + (1 if op.trainable else 0))
