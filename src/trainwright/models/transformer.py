"""A decoder by shape: an embedding, repeated layers of attention and MLP, a norm and a head over the vocabulary."""

from __future__ import annotations

from dataclasses import replace

from trainwright.models.latent import latent_attention_ops
from trainwright.models.mixture import mixture_ops
from trainwright.models.ops import (
    attention_ops,
    dropout,
    kept,
    linear,
    mlp_ops,
    norm,
    per_token,
    positions,
    residual,
    rotary_tables,
)
from trainwright.models.shape import Shape
from trainwright.models.spec import PER_TOKEN, Block, CrossEntropy, Lookup, ModelSpec, Op, Pointwise, Saved, Size


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
    ops: list[Op] = [token_lookup(shape)]
    if shape.positions == "learned":
        ops += [position_lookup(shape), residual("position_add", width)]
    if shape.embedding_scale:
        ops += [Pointwise(name="embedding_scale", elements=per_token(width))]
    ops += [positions()]
    if shape.positions == "rotary":
        ops += [rotary_tables(shape.rotary_dim or shape.rope_dim or shape.dim)]
    if shape.embedding_norm:
        ops += [norm("embedding_norm", width, shape.norm, bias=shape.norm_bias)]
    if shape.dropout:
        ops += [dropout("embedding_dropout", width)]
    return Block(name="embedding", ops=tuple(ops), boundary=per_token(width))


def token_lookup(shape: Shape) -> Lookup:
    """Token numbers to rows of the embedding."""
    return Lookup(
        name="embedding",
        rows=PER_TOKEN,
        width=shape.hidden,
        n_entries=shape.vocabulary,
        n_parameters=shape.vocabulary * shape.hidden,
        saved=(kept(1, "int64"),),
        split="vocabulary",
        frozen_input=True,
    )


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
    blocks: list[Block] = []
    for index in range(shape.layers):
        window = shape.window_of(index)
        ops = layer_ops(shape, window=window, has_experts=shape.has_experts(index))
        if blocks and blocks[-1].ops == ops:
            blocks[-1] = replace(blocks[-1], repeats=blocks[-1].repeats + 1)
        else:
            blocks.append(Block(name="layer", ops=ops, boundary=per_token(shape.hidden)))
    return tuple(blocks)


def layer_ops(shape: Shape, *, window: int | None, has_experts: bool) -> tuple[Op, ...]:
    """One layer: attention, then an MLP or experts, each added to what went in."""
    width = shape.hidden
    attention = latent_attention_ops(shape, shape.kv_rank) if shape.kv_rank else attention_ops(shape, window)
    mlp = mixture_ops(shape, shape.experts) if has_experts and shape.experts else mlp_ops(shape, shape.width)
    add_attention, add_mlp = residual("attention_residual", width), residual("mlp_residual", width)

    def normed(name: str) -> Op:
        return norm(name, width, shape.norm, bias=shape.norm_bias)

    match shape.norms:
        case "pre":
            return (normed("attention_norm"), *attention, add_attention, normed("mlp_norm"), *mlp, add_mlp)
        case "post":
            return (*attention, add_attention, normed("attention_norm"), *mlp, add_mlp, normed("mlp_norm"))
        case "parallel":
            return (normed("attention_norm"), *attention, *without_input(mlp), add_attention, add_mlp)
        case "parallel_two":
            return (normed("attention_norm"), *attention, normed("mlp_norm"), *mlp, add_attention, add_mlp)
        case "sandwich":
            before = (normed("attention_norm"), *attention, normed("attention_post_norm"), add_attention)
            return (*before, normed("mlp_norm"), *mlp, normed("mlp_post_norm"), add_mlp)


def without_input(ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """The same ops, the first one's input being kept by another op already."""
    return (replace(ops[0], saved=()), *ops[1:])


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


def cross_entropy(n_classes: int, rows: Size = PER_TOKEN, *, shifted: bool = True) -> CrossEntropy:
    """log-softmax of the logits in fp32, which is kept, and the mean of the labels' entries.

    ``shifted``: labels are moved by one position first, in two kernels.
    """
    return CrossEntropy(
        name="loss",
        rows=rows,
        n_classes=n_classes,
        saved=(
            Saved(elements=rows.times(n_classes), dtype="fp32", split="vocabulary"),
            Saved(elements=rows, dtype="int64"),
        ),
        split="vocabulary",
        n_kernels=4 if shifted else 2,
        backward_kernels=3,
    )
