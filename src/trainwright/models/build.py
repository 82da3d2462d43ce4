"""A shape to a model: which builder makes which kind of family."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trainwright.models.encoder_decoder import encoder_decoder
from trainwright.models.families import Kind, family
from trainwright.models.masked import masked
from trainwright.models.shape import Shape
from trainwright.models.spec import ModelSpec
from trainwright.models.transformer import decoder
from trainwright.models.vision import vision

BUILDERS: Mapping[Kind, Callable[[Shape], ModelSpec]] = {
    "decoder": decoder,
    "masked": masked,
    "encoder_decoder": encoder_decoder,
    "vision": vision,
}


def build(shape: Shape) -> ModelSpec:
    """The model of this shape, by its family's kind."""
    return BUILDERS[family(shape.family).kind](shape)
