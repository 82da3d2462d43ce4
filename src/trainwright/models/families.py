"""Model families: what every member shares, so that a preset or a config only gives numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainwright.errors import unknown_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family: its Hugging Face class and model type, and the parts of a ``Shape`` that its members share."""

    name: str
    architecture: str
    model_type: str
    style: Mapping[str, Any] = field(default_factory=dict)


_GPT2 = {
    "gated": False, "norm": "layer", "positions": "learned", "fused_qkv": True, "qkv_bias": True, "out_bias": True,
    "mlp_bias": True, "activation": "gelu_eager", "tied": True,
}  # fmt: skip

FAMILIES = (
    Family(name="llama", architecture="LlamaForCausalLM", model_type="llama"),
    Family(name="mistral", architecture="MistralForCausalLM", model_type="mistral"),
    Family(name="qwen2", architecture="Qwen2ForCausalLM", model_type="qwen2", style={"qkv_bias": True}),
    Family(name="qwen3", architecture="Qwen3ForCausalLM", model_type="qwen3", style={"qk_norm": True}),
    Family(name="gpt2", architecture="GPT2LMHeadModel", model_type="gpt2", style=_GPT2),
)


def family(name: str) -> Family:
    """The family of that name."""
    for known in FAMILIES:
        if known.name == name:
            return known
    raise unknown_name("model family", name, [known.name for known in FAMILIES])
