"""Which model a published row trained: by its shape columns, else by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from trainwright.cost.published.convolution import residual_network, unet
from trainwright.cost.published.named import NAMED
from trainwright.cost.published.row import Row
from trainwright.models.catalogue import preset_shape, presets
from trainwright.models.shape import Shape
from trainwright.models.spec import Block, CrossEntropy, Matmul, ModelSpec, Op, Size
from trainwright.models.transformer import decoder

VOCABULARIES = {"gpt": 51200, "llama": 32000, "bert": 30522, "moe": 128256, "vit": 1000}
"""What a row that names no vocabulary is taken to have."""

MASKED_SHARE = 0.15
"""Positions that BERT predicts (Devlin et al., arXiv:1810.04805, section 3.1); the software gathers them first."""


TARGET_SHARE = 114.0 / 512.0
"""Tokens T5's decoder sees for each of the encoder's (Raffel et al., arXiv:1910.10683, section 3.1.4)."""

TARGET_WORK = 4.0 / 3.0 * TARGET_SHARE
"""Work of a decoder layer, which attends twice, against an encoder layer on its own tokens."""

ADAPTIVE_CLASSES = 28000
"""Classes a token of WikiText-103 meets in Transformer-XL's adaptive softmax: the 20,000 commonest, and of the tails
(20,000, 160,000 and 68,000) a tenth of the tokens' (Grave et al., arXiv:1609.04309; Dai et al., arXiv:1901.02860)."""


def model_of(row: Row) -> ModelSpec | None:
    """The model; None where the row gives neither a shape nor a name that is known."""
    name = row["model_name"]
    if row["arch"] == "cnn" and (depth := re.search(r"resnet-?(\d+)", name.casefold())):
        return residual_network(int(depth[1]))
    named = named_shape(name)
    if isinstance(named, str):
        return unet(named)
    if named is not None and row.says("LitGPT"):
        # its head is a copy even where the family ties it (convert_hf_checkpoint.py)
        named = replace(named, tied=False)
    if named is not None and "nemotron-h" in named.name.casefold():
        return _spec(named)
    if named is not None and (not _has_shape(row) or row["arch"] in ("moe", "moe-mla") or named.experts):
        return _spec(replace(named, layers=row.count("layers", named.layers)))
    shape = shape_of(row) if _has_shape(row) else None
    if shape is None:
        return None
    if row["arch"].startswith("t5"):
        whole = replace(shape, layers=round(shape.layers * (1.0 + TARGET_WORK)), causal=False)
        return _masked(_spec(whole), TARGET_SHARE)
    model = _masked(_spec(shape), MASKED_SHARE) if row["arch"] == "bert" else _spec(shape)
    return _adaptive(model) if row.says("adaptive softmax") else model


@cache
def _spec(shape: Shape) -> ModelSpec:
    return decoder(shape)


@cache
def named_shape(name: str) -> Shape | str | None:
    """The shape of a model that tables call by name, or the name of a network that is no transformer."""
    text = re.sub(r"[^a-z0-9.]+", "-", name.casefold()).strip("-")
    for pattern, what in NAMED:
        if re.search(pattern, text):
            return _shape(name, what)
    known = text if text in presets() else None
    return preset_shape(known) if known else None


def _shape(name: str, what: str | Mapping[str, Any]) -> Shape | str:
    if isinstance(what, str):
        return preset_shape(what) if what in presets() else what
    return Shape(name=name, source="cost/published/named.py", **what)


def _has_shape(row: Row) -> bool:
    return row.count("layers", 0) > 0 and row.count("hidden", 0) > 0


def shape_of(row: Row) -> Shape:
    """The transformer that a row's columns spell out; what they leave out is as usual for its kind."""
    layers, hidden = row.count("layers", 0), row.count("hidden", 0)
    heads = row.count("heads", 0) or _usual_heads(hidden)
    kv_heads = row.count("kv_heads", heads)
    arch, gated = row["arch"], row.flag("gated_mlp")
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
        dropout=arch == "bert" or row.says("ANALYTICAL memory bars"),
        experts=experts,
        experts_per_token=row.count("topk", 2),
        expert_ffn=ffn if experts else None,
    )


def vocabulary(row: Row) -> int:
    """The vocabulary, stated or usual."""
    stated = row.count("vocab", 0)
    key = next((name for name in VOCABULARIES if row["arch"].startswith(name)), "gpt")
    return stated or VOCABULARIES[key]


def _masked(model: ModelSpec, share: float) -> ModelSpec:
    """The head and the loss on a share of the positions only."""

    def fewer(op: Op) -> Op:
        return replace(op, rows=Size(token=share)) if isinstance(op, Matmul | CrossEntropy) else op

    *inner, head = model.blocks
    masked: Block = replace(head, ops=tuple(fewer(op) for op in head.ops))
    return replace(model, blocks=(*inner, masked))


def _adaptive(model: ModelSpec) -> ModelSpec:
    """The head and the loss on the classes that an adaptive softmax computes; the parameters stay."""

    def fewer(op: Op) -> Op:
        if isinstance(op, Matmul):
            return replace(op, n=ADAPTIVE_CLASSES)
        return replace(op, n_classes=ADAPTIVE_CLASSES) if isinstance(op, CrossEntropy) else op

    *inner, head = model.blocks
    shorter: Block = replace(head, ops=tuple(fewer(op) for op in head.ops))
    return replace(model, blocks=(*inner, shorter))


def _usual_heads(hidden: int) -> int:
    """Heads of 128, else of 64, else of 80 or 96."""
    return next((hidden // dim for dim in (128, 64, 80, 96) if hidden % dim == 0), 8)


def _gated_width(hidden: int) -> int:
    """Llama's 8/3 hidden, rounded up to 256."""
    return -(-hidden * 8 // 3 // 256) * 256
