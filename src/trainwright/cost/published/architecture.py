"""Which model a published row trained."""

from __future__ import annotations

import re
from functools import cache

from trainwright.cost.published.row import Row
from trainwright.models.shape import Shape
from trainwright.models.spec import ModelSpec
from trainwright.models.transformer import decoder

VOCABULARIES = {"gpt": 51200, "llama": 32000, "bert": 30522, "moe": 128256, "vit": 1000}
"""What a row that names no vocabulary is taken to have."""


def model_of(row: Row) -> ModelSpec | None:
    """The model by its shape; None where the row gives none and its name is not known."""
    shape = shape_of(row)
    return None if shape is None else _spec(shape)


@cache
def _spec(shape: Shape) -> ModelSpec:
    return decoder(shape)


def shape_of(row: Row) -> Shape | None:
    """The transformer of a row."""
    layers, hidden = row.count("layers", 0), row.count("hidden", 0)
    if not layers or not hidden or row["arch"] in ("cnn", "diffusion-unet", "diffusion unet"):
        return None
    heads = row.count("heads", 0) or _usual_heads(hidden)
    kv_heads = row.count("kv_heads", heads)
    arch = row["arch"]
    gated = row.flag("gated_mlp")
    llama = arch.startswith(("llama", "moe", "glm")) if gated is None else gated
    experts = row.count("experts", 0) or None
    ffn = row.count("ffn", 0) or (_gated_width(hidden) if llama else 4 * hidden)
    return Shape(
        name=row["model_name"] or "published",
        family=arch or "gpt",
        source=row["source"],
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads if heads % kv_heads == 0 else heads,
        head_dim=None if hidden % heads == 0 else 128,
        ffn=ffn,
        vocabulary=vocabulary(row),
        max_seq=max(row.count("seq_len", 2048), 2048),
        gated=llama,
        activation="silu" if llama else "gelu",
        norm="rms" if arch.startswith(("llama", "moe")) else "layer",
        positions="rotary" if arch.startswith(("llama", "moe")) else "learned",
        tied=bool(row.flag("tied_embed")),
        causal=arch not in ("bert", "vit"),
        dropout=arch == "bert",
        experts=experts,
        experts_per_token=row.count("topk", 2),
        expert_ffn=ffn if experts else None,
    )


def vocabulary(row: Row) -> int:
    """The vocabulary as the software pads it: to a multiple of 128 for every tensor-parallel rank."""
    stated = row.count("vocab", 0)
    if stated == 0:
        key = next((name for name in VOCABULARIES if row["arch"].startswith(name)), "gpt")
        stated = VOCABULARIES[key]
    return stated


def _usual_heads(hidden: int) -> int:
    """Heads of 128, else of 64, else one of each 64."""
    return next((hidden // dim for dim in (128, 64, 80, 96) if hidden % dim == 0), 8)


def _gated_width(hidden: int) -> int:
    """Llama's 8/3 hidden, rounded up to 256."""
    return -(-hidden * 8 // 3 // 256) * 256


def parameters_b(row: Row) -> float | None:
    """Billions of parameters, stated or named ("LLaMA3 70B")."""
    stated = row.number("params_b")
    if stated is not None:
        return stated
    match = re.search(r"(\d+(?:\.\d+)?)\s*[bB]\b", row["model_name"])
    return float(match[1]) if match else None
