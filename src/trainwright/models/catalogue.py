"""Models by name, by shape, or from a Hugging Face folder: the one door to a ``ModelSpec``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from trainwright.errors import unknown_name
from trainwright.models.build import build
from trainwright.models.families import family
from trainwright.models.file import load_model
from trainwright.models.shape import Shape, shape_from_table
from trainwright.models.spec import ModelSpec


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    text = resources.files("trainwright.models").joinpath("data/models.toml").read_text()
    table: Mapping[str, Mapping[str, Any]] = tomllib.loads(text)
    return table


def presets() -> tuple[str, ...]:
    """The names of the catalogue's models, as data/models.toml lists them."""
    return tuple(_table())


def preset_shape(name: str) -> Shape:
    """The shape of a preset.

    >>> preset_shape("llama-3-8b").kv_heads
    8
    """
    if name not in _table():
        raise unknown_name("model", name, presets())
    return shape_of({"name": name, **_table()[name]})


def shape_of(table: Mapping[str, Any]) -> Shape:
    """A shape from a table of a job file: the style of its ``family`` (llama when not given), then its own keys."""
    return shape_from_table({**family(table.get("family", "llama")).style, **table})


def model(name: str) -> ModelSpec:
    """The preset of that name, near misses being named; or a file that `trainwright capture` wrote.

    >>> model("llama-3-8b").n_parameters
    8030261248
    """
    return load_model(Path(name)) if name.endswith(".json") else build(preset_shape(name))


def model_of_shape(table: Mapping[str, Any]) -> ModelSpec:
    """The model a job file's [model] table spells out: family, layers, hidden, heads, kv_heads, ffn, vocabulary, ...

    >>> model_of_shape({"layers": 2, "hidden": 64, "heads": 4, "ffn": 128, "vocabulary": 256}).n_blocks
    4
    """
    return build(shape_of(table))
