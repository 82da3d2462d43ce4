"""A masked language model by shape: BERT (Devlin et al., arXiv:1810.04805), an encoder and a head."""

from __future__ import annotations

from dataclasses import replace

from trainwright.models.ops import activation, dropout, linear, norm, per_token, residual
from trainwright.models.shape import Shape
from trainwright.models.spec import PER_TOKEN, Block, Lookup, ModelSpec, Op, Saved, Size
from trainwright.models.transformer import cross_entropy, layer_blocks, position_lookup, token_lookup

SEGMENTS = 2
"""BERT tells first and second sentence apart by a row each."""


def masked(shape: Shape) -> ModelSpec:
    """The masked language model of this shape; the loss is taken over every position, as transformers computes it."""
    return ModelSpec(
        name=shape.name,
        family=shape.family,
        blocks=(masked_embedding(shape), *layer_blocks(shape), masked_head(shape)),
        source=shape.source,
        max_seq=shape.max_seq,
        n_tied_parameters=shape.vocabulary * shape.hidden if shape.tied else 0,
    )


def masked_embedding(shape: Shape) -> Block:
    """Token, segment and position rows, added and normed."""
    width = shape.hidden
    segments = Lookup(
        name="segment_embedding",
        rows=PER_TOKEN,
        width=width,
        n_entries=SEGMENTS,
        n_parameters=SEGMENTS * width,
        saved=(Saved(elements=Size(position=1.0), dtype="int64"),),
        n_kernels=2,  # with the gather of the segment numbers
        frozen_input=True,
    )
    adds = replace(residual("position_add", width), n_kernels=2, reads=4.0, writes=2.0)
    ops: list[Op] = [token_lookup(shape), segments, position_lookup(shape), adds]
    ops += [norm("embedding_norm", width, shape.norm, bias=shape.norm_bias)]
    if shape.dropout:
        ops += [dropout("embedding_dropout", width)]
    return Block(name="embedding", ops=tuple(ops), boundary=per_token(width))


def masked_head(shape: Shape) -> Block:
    """A dense layer, its activation and norm, then the product with the (tied) embedding and the loss."""
    width = shape.hidden
    ops = (
        linear("transform", width, width, bias=True),
        activation("transform_activation", width, shape.activation, gated=False, split="none"),
        norm("final_norm", width, shape.norm, bias=shape.norm_bias),
        linear("head", width, shape.vocabulary, bias=True, split="vocabulary"),
        cross_entropy(shape.vocabulary, shifted=False),
    )
    return Block(name="head", ops=ops, boundary=per_token(0))
