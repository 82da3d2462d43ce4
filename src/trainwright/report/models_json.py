"""Models as JSON values: figures, and every op of every block, in base units."""

from __future__ import annotations

import dataclasses
from typing import Any

from trainwright.models.figures import figures
from trainwright.models.spec import ModelSpec


def model_json(model: ModelSpec, seq: int) -> dict[str, Any]:
    """Figures only: what the list holds of one model."""
    return {
        "name": model.name,
        "family": model.family,
        "source": model.source,
        "unit": model.unit,
        "max_seq": model.max_seq,
        "blocks": model.n_blocks,
        **dataclasses.asdict(figures(model, seq)),
    }


def model_and_ops_json(model: ModelSpec, seq: int) -> dict[str, Any]:
    """Figures, and the blocks with their ops as ``ModelSpec`` holds them."""
    ops = [
        {
            "name": block.name,
            "repeats": block.repeats,
            "ops": [{"kind": type(op).__name__, **dataclasses.asdict(op)} for op in block.ops],
        }
        for block in model.blocks
    ]
    return {**model_json(model, seq), "n_tied_parameters": model.n_tied_parameters, "block_list": ops}
