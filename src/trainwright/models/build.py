"""A shape to a model: which builder makes which kind of family."""

from __future__ import annotations

from trainwright.models.shape import Shape
from trainwright.models.spec import ModelSpec
from trainwright.models.transformer import decoder


def build(shape: Shape) -> ModelSpec:
    """The model of this shape, by its family's kind."""
    return decoder(shape)
