"""The shape of a transformer: every number and style that tells one decoder or encoder from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from trainwright.errors import InvalidInputError, unknown_name

Activation = Literal["silu", "gelu", "gelu_tanh", "gelu_eager", "relu", "relu2", "quick_gelu", "bloom_gelu"]
Norm = Literal["rms", "rms_plus_one", "layer", "layer_plus_one"]
Norms = Literal["pre", "post", "parallel", "parallel_two", "sandwich"]
HeadNorm = Literal["weighted", "plain"]
Positions = Literal["rotary", "learned", "alibi", "relative", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One transformer. ``None`` means the usual: kv_heads = heads, head_dim = hidden / heads, ffn as ``width`` says.

    ``norms``: before each half (``pre``), after each residual add (``post``), one norm feeding both halves
    (``parallel``) or one each (``parallel_two``), or before and after each half (``sandwich``). ``gelu_eager`` is
    gelu_new written out in pointwise ops. ``rotary_dim``: how many of a head's dimensions are rotated. ``window``:
    local attention on all layers but every ``global_every``-th. Experts stand in every ``expert_every``-th layer after
    the first ``dense_layers``; ``shared_ffn`` is the width of the expert that all tokens pass. Latent attention
    (DeepSeek): ``kv_rank``, ``q_rank`` and the three dims of a head. ``qk_norm``: each query and key head is normed.
    Vision: ``image`` and ``patch`` are sides in pixels, ``vocabulary`` the number of classes.
    """

    name: str = "custom"
    family: str = "llama"
    source: str = "a job file"
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    max_seq: int = 4096
    kv_heads: int | None = None
    head_dim: int | None = None
    ffn: int | None = None
    gated: bool = True
    activation: Activation = "silu"
    norm: Norm = "rms"
    norm_bias: bool = True
    norms: Norms = "pre"
    embedding_norm: bool = False
    final_norm: bool = True
    positions: Positions = "rotary"
    rotary_dim: int | None = None
    position_offset: int = 0
    fused_qkv: bool = False
    fused_gate: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    qk_norm: HeadNorm | None = None
    embedding_scale: bool = False
    tied: bool = False
    causal: bool = True
    dropout: bool = False
    window: int | None = None
    global_every: int | None = None
    experts: int | None = None
    experts_per_token: int = 2
    expert_ffn: int | None = None
    shared_ffn: int | None = None
    shared_gate: bool = False
    dense_layers: int = 0
    expert_every: int = 1
    q_rank: int | None = None
    kv_rank: int | None = None
    nope_dim: int | None = None
    rope_dim: int | None = None
    v_dim: int | None = None
    image: int | None = None
    patch: int | None = None
    channels: int = 3

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, needs at least 1"
            for name in ("layers", "hidden", "heads", "vocabulary", "max_seq", "kv_heads", "head_dim", "ffn")
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if not problems and self.heads % self.n_kv_heads:
            problems.append(f"{self.heads} heads cannot share {self.n_kv_heads} kv_heads evenly")
        if not problems and self.head_dim is None and self.hidden % self.heads:
            problems.append(f"hidden {self.hidden} does not divide by {self.heads} heads, and head_dim is not given")
        if self.experts is not None and self.experts_per_token > self.experts:
            problems.append(f"a token cannot pass {self.experts_per_token} of {self.experts} experts")
        if problems:
            hint = "kv_heads must divide heads; heads must divide hidden unless head_dim says otherwise"
            raise InvalidInputError(f"the shape of model {self.name!r} is impossible: {'; '.join(problems)}", hint=hint)

    @property
    def n_kv_heads(self) -> int:
        """Key and value heads."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def dim(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads if self.head_dim is None else self.head_dim

    @property
    def width(self) -> int:
        """Width of the MLP. By default 4 hidden; 8/3 hidden, to a multiple of 16, where gated: as many weights."""
        if self.ffn is not None:
            return self.ffn
        return -(-8 * self.hidden // 48) * 16 if self.gated else 4 * self.hidden

    def has_experts(self, index: int) -> bool:
        """Does layer ``index`` (from 0) hold experts?"""
        return self.experts is not None and index >= self.dense_layers and (index + 1) % self.expert_every == 0

    def window_of(self, index: int) -> int | None:
        """How far back layer ``index`` (from 0) looks; None: all the way."""
        is_global = self.global_every is not None and (index + 1) % self.global_every == 0
        return None if is_global else self.window


def shape_from_table(table: Mapping[str, Any]) -> Shape:
    """The shape a job file or a preset spells out; unknown and missing keys are refused, by name.

    >>> shape_from_table({"layers": 2, "hidden": 192, "heads": 4, "vocabulary": 256}).width
    512
    """
    known = [field.name for field in fields(Shape)]
    for key in table:
        if key not in known:
            raise unknown_name("model key", key, known)
    missing = [key for key in ("layers", "hidden", "heads", "vocabulary") if key not in table]
    if missing:
        raise InvalidInputError(
            f"the model's shape lacks {', '.join(missing)}",
            hint="give layers, hidden, heads and vocabulary; the rest has defaults",
        )
    return Shape(**table)
