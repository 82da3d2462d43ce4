"""An encoder and a decoder that looks at it, by shape: T5 (Raffel et al., arXiv:1910.10683).

Both read sequences of the same length ``seq``; a shorter target costs less than said here.
"""

from __future__ import annotations

from dataclasses import replace

from trainwright.models.ops import kept, linear, mlp_ops, norm, per_token, residual
from trainwright.models.shape import Shape
from trainwright.models.spec import Attention, Block, Lookup, ModelSpec, Op, Saved, Size
from trainwright.models.transformer import cross_entropy, token_lookup

BUCKETS = 32
"""Distances between positions that share one learned bias a head."""


def encoder_decoder(shape: Shape) -> ModelSpec:
    """The model of this shape: ``layers`` in the encoder and as many in the decoder, one embedding for both."""
    embedding = shape.vocabulary * shape.hidden
    return ModelSpec(
        name=shape.name,
        family=shape.family,
        blocks=(
            Block(
                name="embedding",
                ops=(token_lookup(shape), position_bias(shape)),
                boundary=per_token(shape.hidden),
            ),
            Block(
                name="encoder_layer",
                ops=(*self_attention_ops(shape, causal=False), *feed_forward_ops(shape)),
                boundary=per_token(shape.hidden),
                repeats=shape.layers,
            ),
            decoder_embedding(shape),
            Block(
                name="decoder_layer",
                ops=(*self_attention_ops(shape, causal=True), *cross_ops(shape), *feed_forward_ops(shape)),
                boundary=per_token(2 * shape.hidden),  # the encoder's output travels along
                repeats=shape.layers,
            ),
            head_block(shape),
        ),
        source=shape.source,
        max_seq=shape.max_seq,
        n_tied_parameters=embedding * (2 if shape.tied else 1),
    )


def position_bias(shape: Shape) -> Lookup:
    """One learned number a head for each distance, looked up for every pair of positions, once for all layers."""
    return Lookup(
        name="position_bias",
        rows=Size(position=1.0),
        width=shape.heads,
        n_entries=BUCKETS,
        n_parameters=BUCKETS * shape.heads,
        n_kernels=22,
        backward_kernels=2,
        frozen_input=True,
    )


def decoder_embedding(shape: Shape) -> Block:
    """The encoder's last norm, whose output every decoder layer keeps in common, and the decoder's own lookup."""
    last = norm("encoder_norm", shape.hidden, shape.norm)
    ops = (
        replace(last, saved=(*last.saved, kept(shape.hidden))),
        replace(token_lookup(shape), name="decoder_embedding"),
        replace(position_bias(shape), name="decoder_position_bias"),
    )
    return Block(name="decoder_embedding", ops=ops, boundary=per_token(2 * shape.hidden))


def self_attention_ops(shape: Shape, *, causal: bool) -> tuple[Op, ...]:
    """Attention whose scores take the learned bias, which no flash kernel differentiates: probabilities are kept."""
    width = shape.heads * shape.dim
    probabilities = Saved(elements=Size(pair=float(shape.heads)), split="heads")
    attention = replace(
        attention_of(shape, "attention", causal=causal),
        saved=(kept(3 * width, split="heads"), probabilities),
        n_kernels=11,
        backward_kernels=13,
    )
    return (
        norm("attention_norm", shape.hidden, shape.norm),
        linear("qkv", shape.hidden, 3 * width, split="column", parts=3),
        attention,
        linear("attention_out", width, shape.hidden, split="row"),
        residual("attention_residual", shape.hidden),
    )


def attention_of(shape: Shape, name: str, *, causal: bool) -> Attention:
    """Flash attention between two sequences of one length."""
    return Attention(
        name=name,
        n_heads=shape.heads,
        n_kv_heads=shape.heads,
        qk_dim=shape.dim,
        v_dim=shape.dim,
        causal=causal,
        saved=(kept(3 * shape.heads * shape.dim, split="heads"), kept(shape.heads, "fp32", "heads")),
        split="heads",
    )


def cross_ops(shape: Shape) -> tuple[Op, ...]:
    """Queries of the decoder on keys and values of the encoder's output."""
    width = shape.heads * shape.dim
    return (
        norm("cross_norm", shape.hidden, shape.norm),
        linear("cross_q", shape.hidden, width, split="column"),
        replace(linear("cross_kv", shape.hidden, 2 * width, split="column", parts=2), saved=()),
        attention_of(shape, "cross_attention", causal=False),
        linear("cross_out", width, shape.hidden, split="row"),
        residual("cross_residual", shape.hidden),
    )


def feed_forward_ops(shape: Shape) -> tuple[Op, ...]:
    """The MLP between its norm and its residual."""
    return (
        norm("mlp_norm", shape.hidden, shape.norm),
        *mlp_ops(shape, shape.width),
        residual("mlp_residual", shape.hidden),
    )


def head_block(shape: Shape) -> Block:
    """The decoder's last norm, the product with the vocabulary, the loss."""
    ops = (
        norm("final_norm", shape.hidden, shape.norm),
        linear("head", shape.hidden, shape.vocabulary, split="vocabulary"),
        cross_entropy(shape.vocabulary, shifted=False),
    )
    return Block(name="head", ops=ops, boundary=per_token(0))
