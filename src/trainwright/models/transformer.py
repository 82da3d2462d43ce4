"""A decoder by shape: an embedding, repeated layers of attention and MLP, a norm and a head over the vocabulary."""

from __future__ import annotations

from trainwright.models.ops import (
    attention_ops,
    dropout,
    kept,
    linear,
    mlp_ops,
    norm,
    per_token,
    residual,
    rotary_tables,
)
from trainwright.models.shape import Shape
from trainwright.models.spec import PER_TOKEN, Block, CrossEntropy, Lookup, ModelSpec, Op, Saved, Size


def decoder(shape: Shape) -> ModelSpec:
    """The decoder of this shape, from token numbers to the mean cross-entropy over its vocabulary.

    >>> decoder(Shape(layers=2, hidden=64, heads=4, vocabulary=256, ffn=128)).n_parameters
    115008
    """
    return ModelSpec(
        name=shape.name,
        family=shape.family,
        blocks=(embedding_block(shape), *layer_blocks(shape), head_block(shape)),
        source=shape.source,
        max_seq=shape.max_seq,
        n_tied_parameters=shape.vocabulary * shape.hidden if shape.tied else 0,
    )


def embedding_block(shape: Shape) -> Block:
    """Token numbers to vectors, with learned positions, a norm or dropout where the family has them."""
    width = shape.hidden
    ops: list[Op] = [
        Lookup(
            name="embedding",
            rows=PER_TOKEN,
            width=width,
            n_entries=shape.vocabulary,
            n_parameters=shape.vocabulary * width,
            saved=(kept(1, "int64"),),
            split="vocabulary",
            frozen_input=True,
        )
    ]
    if shape.positions == "learned":
        ops += [position_lookup(shape), residual("position_add", width)]
    if shape.positions == "rotary":
        ops += [rotary_tables(shape.rotary_dim or shape.rope_dim or shape.dim)]
    if shape.embedding_norm:
        ops += [norm("embedding_norm", width, shape.norm, bias=shape.norm_bias)]
    if shape.dropout:
        ops += [dropout("embedding_dropout", width)]
    return Block(name="embedding", ops=tuple(ops), boundary=per_token(width))


def position_lookup(shape: Shape) -> Lookup:
    """Learned positions: one row a position, whatever the batch."""
    entries = shape.max_seq + shape.position_offset
    return Lookup(
        name="position_embedding",
        rows=Size(position=1.0),
        width=shape.hidden,
        n_entries=entries,
        n_parameters=entries * shape.hidden,
        saved=(Saved(elements=Size(position=1.0), dtype="int64"),),
        frozen_input=True,
    )


def layer_blocks(shape: Shape) -> tuple[Block, ...]:
    """The layers, as runs of equal ones."""
    return (layer(shape, "layer", shape.layers),)


def layer(shape: Shape, name: str, repeats: int, window: int | None = None) -> Block:
    """One layer: attention, then an MLP, each added to what went in."""
    width = shape.hidden
    attention = attention_ops(shape, window)
    mlp = mlp_ops(shape, shape.width)
    add_attention, add_mlp = residual("attention_residual", width), residual("mlp_residual", width)

    def normed(op_name: str) -> Op:
        return norm(op_name, width, shape.norm, bias=shape.norm_bias)

    if shape.norms == "post":
        ops = (*attention, add_attention, normed("attention_norm"), *mlp, add_mlp, normed("mlp_norm"))
    elif shape.norms == "parallel":
        ops = (normed("attention_norm"), *attention, *mlp, add_attention, add_mlp)
    else:
        ops = (normed("attention_norm"), *attention, add_attention, normed("mlp_norm"), *mlp, add_mlp)
    return Block(name=name, ops=ops, boundary=per_token(width), repeats=repeats)


def head_block(shape: Shape) -> Block:
    """The last norm, the product with the vocabulary, and the loss in fp32."""
    ops: list[Op] = []
    if shape.final_norm:
        ops += [norm("final_norm", shape.hidden, shape.norm, bias=shape.norm_bias)]
    ops += [
        linear("head", shape.hidden, shape.vocabulary, bias=shape.head_bias, split="vocabulary"),
        cross_entropy(shape.vocabulary),
    ]
    return Block(name="head", ops=tuple(ops), boundary=per_token(0))


def cross_entropy(n_classes: int) -> CrossEntropy:
    """log-softmax of the logits in fp32, which is kept, and the mean of the labels' entries."""
    return CrossEntropy(
        name="loss",
        rows=PER_TOKEN,
        n_classes=n_classes,
        saved=(kept(n_classes, "fp32", "vocabulary"), kept(1, "int64")),
        split="vocabulary",
        n_kernels=5,
        backward_kernels=4,
    )
