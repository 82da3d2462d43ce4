"""A vision transformer by shape (Dosovitskiy et al., arXiv:2010.11929): patches, an encoder, one class an image."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from trainwright.errors import InvalidInputError
from trainwright.models.ops import linear, norm, per_token
from trainwright.models.shape import Shape
from trainwright.models.spec import Block, Matmul, ModelSpec, Op, Pointwise, Saved, Size
from trainwright.models.transformer import cross_entropy, layer_blocks

PER_IMAGE = Size(sample=1.0)


def vision(shape: Shape) -> ModelSpec:
    """The classifier of this shape. Sizes are per image, whatever ``seq`` is asked: a sample has fixed positions.

    >>> sizes = {"layers": 1, "hidden": 64, "heads": 4, "vocabulary": 10, "image": 32, "patch": 8}
    >>> vision(Shape(norm="layer", gated=False, positions="none", **sizes)).max_seq
    17
    """
    if shape.image is None or shape.patch is None or shape.image % shape.patch:
        raise InvalidInputError(
            f"a vision transformer cannot cut an image of side {shape.image} into patches of side {shape.patch}",
            hint="give image and patch in pixels, image a multiple of patch, as image = 224, patch = 16",
        )
    n_patches = (shape.image // shape.patch) ** 2
    blocks = (patch_block(shape, n_patches), *layer_blocks(shape), class_block(shape))
    return ModelSpec(
        name=shape.name,
        family=shape.family,
        blocks=tuple(of_length(block, n_patches + 1) for block in blocks),
        source=shape.source,
        max_seq=n_patches + 1,
        unit="images",
    )


def patch_block(shape: Shape, n_patches: int) -> Block:
    """Patches to vectors by one convolution, a class vector in front, learned positions added."""
    assert shape.image is not None
    assert shape.patch is not None
    width, pixels = shape.hidden, shape.channels * shape.patch**2
    patches = Matmul(
        name="patches",
        rows=Size(sample=float(n_patches)),
        k=pixels,
        n=width,
        n_parameters=pixels * width + width,
        saved=(Saved(elements=Size(sample=float(shape.channels * shape.image**2))),),
        is_convolution=True,
        frozen_input=True,
    )
    positions = Pointwise(
        name="position_embedding",
        elements=per_token(width),
        n_parameters=(n_patches + 2) * width,
        n_kernels=2,
        backward_kernels=2,
        reads=2.0,
        writes=2.0,
    )
    return Block(name="embedding", ops=(patches, positions), boundary=per_token(width))


def class_block(shape: Shape) -> Block:
    """The last norm over all positions, and a linear classifier of the first, whose whole norm output stays kept."""
    head = linear("head", shape.hidden, shape.vocabulary, bias=True, split="vocabulary")
    ops: tuple[Op, ...] = (
        norm("final_norm", shape.hidden, shape.norm, bias=shape.norm_bias),
        replace(head, rows=PER_IMAGE, backward_kernels=4),
        cross_entropy(shape.vocabulary, PER_IMAGE, shifted=False),
    )
    return Block(name="head", ops=ops, boundary=Size())


def of_length(block: Block, n: int) -> Block:
    """The same block for samples of n positions each: sizes per sample, independent of ``seq``."""
    ops = tuple(_op_of_length(op, n) for op in block.ops)
    return replace(block, ops=ops, boundary=_per_sample(block.boundary, n))


def _op_of_length(op: Op, n: int) -> Op:
    sizes: dict[str, Any] = {
        f.name: _per_sample(value, n) for f in fields(op) if isinstance(value := getattr(op, f.name), Size)
    }
    saved = tuple(replace(tensor, elements=_per_sample(tensor.elements, n)) for tensor in op.saved)
    return replace(op, saved=saved, **sizes)


def _per_sample(size: Size, n: int) -> Size:
    return Size(fixed=size.fixed + size.position * n, sample=size.sample + size.token * n + size.pair * n * n)
