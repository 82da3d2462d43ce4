"""Model families: what every member shares, so that a preset or a Hugging Face config only gives numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trainwright.errors import InvalidInputError, unknown_name

Kind = Literal["decoder", "masked", "encoder_decoder", "vision"]
COMMON: Mapping[str, str] = {
    "layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads", "vocabulary": "vocab_size",
    "kv_heads": "num_key_value_heads", "head_dim": "head_dim", "ffn": "intermediate_size", "activation": "hidden_act",
    "max_seq": "max_position_embeddings", "tied": "tie_word_embeddings",
}  # fmt: skip


def no_more(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a family reads from a config beyond its keys: nothing."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family: its Hugging Face class and model type, and the parts of a ``Shape`` that its members share.

    ``keys``: shape field to config key where it differs from ``COMMON``, None where the family has no such key.
    ``dropouts``: config keys of dropout rates. ``fixed``: config entries that make the class what ``style`` says.
    ``read`` gives further shape fields from a config and refuses what we do not model.
    """

    name: str
    architecture: str
    model_type: str
    kind: Kind = "decoder"
    style: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str | None] = field(default_factory=dict)
    dropouts: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    read: Callable[[Mapping[str, Any]], dict[str, Any]] = no_more

    def key_of(self) -> dict[str, str]:
        """Shape field to config key, for every field the family's config knows."""
        return {name: key for name, key in {**COMMON, **self.keys}.items() if key is not None}


def refuse(family: str, what: str) -> InvalidInputError:
    """The error for a config that is valid but not modelled here."""
    return InvalidInputError(
        f"{family}: {what} is not supported",
        hint="capture the model's code instead: [model] function = 'module:function'",
    )


def _rotary(config: Mapping[str, Any]) -> dict[str, Any]:
    """Partial rotary embeddings, under their three names."""
    share = config.get("partial_rotary_factor", config.get("rotary_pct"))
    if share is None:
        share = (config.get("rope_parameters") or {}).get("partial_rotary_factor", 1.0)
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return {} if share == 1.0 else {"rotary_dim": int(dim * share)}


def _window(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sliding windows that are switched on."""
    window = config.get("sliding_window")
    return {"window": window} if window and config.get("use_sliding_window", True) else {}


def _pattern(config: Mapping[str, Any]) -> dict[str, Any]:
    """Local layers with every n-th one global (Gemma 2 and 3)."""
    types = config.get("layer_types") or []
    default = types.index("full_attention") + 1 if "full_attention" in types else 6
    return {
        "window": config.get("sliding_window", 4096),
        "global_every": config.get("sliding_window_pattern", 2 if config["model_type"] == "gemma2" else default),
    }


def _mixture(config: Mapping[str, Any]) -> dict[str, Any]:
    """Qwen's sparse layers."""
    if config.get("mlp_only_layers"):
        raise refuse(str(config["model_type"]), f"mlp_only_layers = {config['mlp_only_layers']}")
    return {"expert_every": config.get("decoder_sparse_step", 1)}


def _deepseek(config: Mapping[str, Any]) -> dict[str, Any]:
    """The shared experts are one MLP as wide as all of them."""
    return {"shared_ffn": config["moe_intermediate_size"] * config["n_shared_experts"], "kv_heads": None}


def _falcon(config: Mapping[str, Any]) -> dict[str, Any]:
    """The old layout has one key head and one norm, the later one several and two."""
    if config.get("alibi") or not config.get("parallel_attn", True):
        raise refuse("falcon", "alibi or sequential attention")
    if config.get("new_decoder_architecture"):
        return {"kv_heads": config["num_kv_heads"], "norms": "parallel_two"}
    return {"kv_heads": 1 if config.get("multi_query", True) else config["num_attention_heads"]}


def _mpt(config: Mapping[str, Any]) -> dict[str, Any]:
    if not (config.get("attn_config") or {}).get("alibi", True):
        raise refuse("mpt", "attention without alibi")
    return {}


def _opt(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("word_embed_proj_dim", config["hidden_size"]) != config["hidden_size"]:
        raise refuse("opt", f"word_embed_proj_dim = {config['word_embed_proj_dim']} (not hidden_size)")
    return {}


def _neox(config: Mapping[str, Any]) -> dict[str, Any]:
    if not config.get("use_parallel_residual", True):
        raise refuse("gpt_neox", "use_parallel_residual = false")
    return _rotary(config)


def _llama4(config: Mapping[str, Any]) -> dict[str, Any]:
    """Chunked attention on all layers but every fourth; experts in every n-th layer."""
    return {
        "window": config.get("attention_chunk_size") or 8192,
        "global_every": config.get("no_rope_layer_interval", 4),
        "expert_every": config.get("interleave_moe_layer_step", 1),
        "shared_ffn": config["intermediate_size"],
        "expert_ffn": config["intermediate_size"],
        "qk_norm": "plain" if config.get("use_qk_norm", True) else None,
    }


def _t5(config: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1.0 has a plain ReLU and a tied head, version 1.1 a gated GELU."""
    layers = config["num_layers"]
    if config.get("num_decoder_layers") not in (None, layers):
        raise refuse("t5", f"a decoder of {config['num_decoder_layers']} layers on an encoder of {layers}")
    kind = config.get("feed_forward_proj", "relu")
    if kind not in T5_MLPS:
        raise refuse("t5", f"feed_forward_proj = {kind!r}")
    return {"gated": kind != "relu", "activation": T5_MLPS[kind]}


T5_MLPS = {"relu": "relu", "gated-gelu": "gelu_eager"}


def _classes(config: Mapping[str, Any]) -> dict[str, Any]:
    """transformers saves the classes by name and two of them not at all."""
    labels = config.get("id2label")
    return {"vocabulary": len(labels)} if labels else {}


_PLAIN = {"gated": False, "norm": "layer", "qkv_bias": True, "out_bias": True, "mlp_bias": True}
_ENCODER = {**_PLAIN, "causal": False, "activation": "gelu"}
_BIASES: dict[str, str | None] = {"qkv_bias": "attention_bias", "out_bias": "attention_bias"}
_EXPERTS: dict[str, str | None] = {
    "experts": "num_experts", "experts_per_token": "num_experts_per_tok", "expert_ffn": "moe_intermediate_size",
}  # fmt: skip
_LATENT: dict[str, str | None] = {
    **_BIASES, "experts": "n_routed_experts", "experts_per_token": "num_experts_per_tok", "kv_rank": "kv_lora_rank",
    "expert_ffn": "moe_intermediate_size", "q_rank": "q_lora_rank", "nope_dim": "qk_nope_head_dim", "head_dim": None,
    "rope_dim": "qk_rope_head_dim", "v_dim": "v_head_dim", "dense_layers": "first_k_dense_replace", "kv_heads": None,
}  # fmt: skip
_NO_HEADS: dict[str, str | None] = {"kv_heads": None, "head_dim": None}
_GEMMA = {
    "norm": "rms_plus_one", "activation": "gelu_tanh", "tied": True, "embedding_scale": True, "head_dim": 256,
}  # fmt: skip
_GEMMA_KEYS = {**_BIASES, "activation": "hidden_activation"}

FAMILIES = (
    Family(
        name="llama", architecture="LlamaForCausalLM", model_type="llama", keys={**_BIASES, "mlp_bias": "mlp_bias"}
    ),
    Family(name="mistral", architecture="MistralForCausalLM", model_type="mistral", read=_window),
    Family(
        name="mixtral", architecture="MixtralForCausalLM", model_type="mixtral", read=_window,
        keys={"experts": "num_local_experts", "experts_per_token": "num_experts_per_tok"},
    ),
    Family(
        name="qwen2", architecture="Qwen2ForCausalLM", model_type="qwen2", style={"qkv_bias": True},
        keys={"head_dim": None}, fixed={"use_sliding_window": False},
    ),
    Family(
        name="qwen2_moe", architecture="Qwen2MoeForCausalLM", model_type="qwen2_moe", read=_mixture,
        style={"qkv_bias": True, "shared_gate": True}, fixed={"use_sliding_window": False},
        keys={**_EXPERTS, "shared_ffn": "shared_expert_intermediate_size", "qkv_bias": "qkv_bias", "head_dim": None},
    ),
    Family(
        name="qwen3", architecture="Qwen3ForCausalLM", model_type="qwen3", keys=_BIASES,
        style={"qk_norm": "weighted", "head_dim": 128}, fixed={"use_sliding_window": False},
    ),
    Family(
        name="qwen3_moe", architecture="Qwen3MoeForCausalLM", model_type="qwen3_moe", read=_mixture,
        style={"qk_norm": "weighted"}, keys={**_EXPERTS, **_BIASES},
        fixed={"use_sliding_window": False, "norm_topk_prob": True},
    ),
    Family(
        name="deepseek_v2", architecture="DeepseekV2ForCausalLM", model_type="deepseek_v2", keys=_LATENT,
        read=_deepseek, fixed={"n_shared_experts": 1},
    ),
    Family(
        name="deepseek_v3", architecture="DeepseekV3ForCausalLM", model_type="deepseek_v3", keys=_LATENT,
        read=_deepseek, fixed={"n_shared_experts": 1},
    ),
    Family(
        name="gpt2", architecture="GPT2LMHeadModel", model_type="gpt2",
        style={**_PLAIN, "positions": "learned", "fused_qkv": True, "activation": "gelu_eager", "tied": True},
        keys={
            "layers": "n_layer", "hidden": "n_embd", "heads": "n_head", "ffn": "n_inner", "max_seq": "n_positions",
            "activation": "activation_function", **_NO_HEADS,
        },
        dropouts=("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    ),
    Family(
        name="gemma", architecture="GemmaForCausalLM", model_type="gemma", style=_GEMMA,
        keys={**_BIASES, "activation": "hidden_act"},
    ),
    Family(
        name="gemma2", architecture="Gemma2ForCausalLM", model_type="gemma2", keys=_GEMMA_KEYS, read=_pattern,
        style={**_GEMMA, "norms": "sandwich"},
    ),
    Family(
        name="gemma3", architecture="Gemma3ForCausalLM", model_type="gemma3_text", keys=_GEMMA_KEYS, read=_pattern,
        style={**_GEMMA, "norms": "sandwich", "qk_norm": "weighted"},
    ),
    Family(
        name="phi", architecture="PhiForCausalLM", model_type="phi", read=_rotary, keys={"head_dim": None},
        style={**_PLAIN, "norms": "parallel", "head_bias": True, "activation": "gelu_eager"},
        dropouts=("resid_pdrop", "embd_pdrop"),
    ),
    Family(
        name="phi3", architecture="Phi3ForCausalLM", model_type="phi3", keys={"head_dim": None},
        style={"fused_qkv": True, "fused_gate": True}, fixed={"pad_token_id": None}, read=_window,
        dropouts=("resid_pdrop", "embd_pdrop"),
    ),
    Family(
        name="opt", architecture="OPTForCausalLM", model_type="opt", read=_opt,
        style={**_PLAIN, "positions": "learned", "position_offset": 2, "activation": "relu", "tied": True},
        keys={**_NO_HEADS, "ffn": "ffn_dim", "activation": "activation_function"}, dropouts=("dropout",),
    ),
    Family(
        name="bloom", architecture="BloomForCausalLM", model_type="bloom",
        style={
            **_PLAIN, "positions": "alibi", "embedding_norm": True, "fused_qkv": True, "activation": "bloom_gelu",
            "tied": True, "max_seq": 2048,
        },
        keys={**_NO_HEADS, "layers": "n_layer", "heads": "n_head", "ffn": None, "max_seq": None, "activation": None},
        dropouts=("hidden_dropout", "attention_dropout"),
    ),
    Family(
        name="mpt", architecture="MptForCausalLM", model_type="mpt", read=_mpt,
        style={
            "gated": False, "norm": "layer", "norm_bias": False, "positions": "alibi", "fused_qkv": True,
            "activation": "gelu", "tied": True,
        },
        keys={
            **_NO_HEADS, "layers": "n_layers", "hidden": "d_model", "heads": "n_heads", "max_seq": "max_seq_len",
            "ffn": None, "activation": None,
        },
    ),
    Family(
        name="falcon", architecture="FalconForCausalLM", model_type="falcon", read=_falcon,
        style={
            "gated": False, "norm": "layer", "norms": "parallel", "fused_qkv": True, "activation": "gelu", "tied": True,
            "max_seq": 2048,
        },
        keys={**_NO_HEADS, "ffn": "ffn_hidden_size", "activation": "activation"},
        dropouts=("hidden_dropout", "attention_dropout"),
    ),
    Family(
        name="gpt_neox", architecture="GPTNeoXForCausalLM", model_type="gpt_neox", read=_neox,
        style={**_PLAIN, "norms": "parallel_two", "fused_qkv": True, "activation": "gelu"},
        keys={**_NO_HEADS, **_BIASES}, dropouts=("hidden_dropout", "attention_dropout"),
    ),
    Family(
        name="nemotron", architecture="NemotronForCausalLM", model_type="nemotron", read=_rotary,
        style={"gated": False, "norm": "layer_plus_one", "activation": "relu2"},
        keys={**_BIASES, "mlp_bias": "mlp_bias"},
    ),
    Family(
        name="llama4", architecture="Llama4ForCausalLM", model_type="llama4_text", read=_llama4,
        keys={
            **_BIASES, "experts": "num_local_experts", "experts_per_token": "num_experts_per_tok",
            "ffn": "intermediate_size_mlp",
        },
    ),
    Family(
        name="bert", architecture="BertForMaskedLM", model_type="bert", kind="masked",
        style={**_ENCODER, "positions": "learned", "norms": "post", "tied": True},
        keys=_NO_HEADS, dropouts=("hidden_dropout_prob", "attention_probs_dropout_prob"),
    ),
    Family(
        name="t5", architecture="T5ForConditionalGeneration", model_type="t5", kind="encoder_decoder", read=_t5,
        style={"positions": "relative", "max_seq": 512, "tied": True},  # transformers ties version 1.1 too
        keys={
            "layers": "num_layers", "hidden": "d_model", "heads": "num_heads", "head_dim": "d_kv", "ffn": "d_ff",
            "kv_heads": None, "activation": None, "max_seq": None, "tied": None,
        },
        dropouts=("dropout_rate",), fixed={"decoder_start_token_id": 0},
    ),
    Family(
        name="vit", architecture="ViTForImageClassification", model_type="vit", kind="vision", read=_classes,
        style={**_ENCODER, "positions": "none", "vocabulary": 2},  # transformers' own number of classes
        keys={
            **_NO_HEADS, "image": "image_size", "patch": "patch_size", "channels": "num_channels", "max_seq": None,
            "vocabulary": "num_labels", "tied": None,
        },
        dropouts=("hidden_dropout_prob", "attention_probs_dropout_prob"),
    ),
)  # fmt: skip


def family(name: str) -> Family:
    """The family of that name."""
    for known in FAMILIES:
        if known.name == name:
            return known
    raise unknown_name("model family", name, [known.name for known in FAMILIES])


def family_of_type(model_type: str) -> Family:
    """The family of a Hugging Face config's ``model_type``."""
    for known in FAMILIES:
        if known.model_type == model_type:
            return known
    types = ", ".join(known.model_type for known in FAMILIES)
    raise InvalidInputError(
        f"no formulas for model_type {model_type!r}",
        hint=f"capture the model's code instead ([model] function = 'module:function'); known types: {types}",
    )
