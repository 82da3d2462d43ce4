"""Models that published tables call by name only, or whose columns leave out the experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_GPT: Mapping[str, Any] = {"gated": False, "activation": "gelu", "norm": "layer", "positions": "learned"}


def _gpt(layers: int, hidden: int, heads: int, vocabulary: int = 51200) -> Mapping[str, Any]:
    return {"layers": layers, "hidden": hidden, "heads": heads, "vocabulary": vocabulary, **_GPT}


def _llama(layers: int, hidden: int, heads: int, kv_heads: int, ffn: int, vocabulary: int) -> Mapping[str, Any]:
    return {
        "layers": layers, "hidden": hidden, "heads": heads, "kv_heads": kv_heads, "ffn": ffn, "vocabulary": vocabulary,
    }  # fmt: skip


def _experts(dense: Mapping[str, Any], n: int, per_token: int, width: int, **more: Any) -> Mapping[str, Any]:
    return {**dense, "experts": n, "experts_per_token": per_token, "expert_ffn": width, **more}


_STATE_SPACE: Mapping[str, Any] = {"gated": False, "activation": "relu2", "head_dim": 128, "window": 4096}
"""A state-space layer with its part of the attention layers, as local attention of as many parameters. Mamba-2's scan
takes as long as FlashAttention-2 over 2,000 tokens of the same width with half of this state, and its kernels gained
less than attention's from the devices since: assumed; not looked up, and chosen with the rows of Nemotron 3 in view."""

_OSS: Mapping[str, Any] = {"head_dim": 64, "window": 128, "global_every": 2}
"""Heads of gpt-oss, every other layer of which looks back 128 tokens (transformers 5.23, GptOssConfig; layers and
experts of both sizes: megatron-bridge 0.3.1, models/gpt_oss)."""


NAMED: tuple[tuple[str, str | Mapping[str, Any]], ...] = (
    (r"deepseek-?v3|deepseek-v3", "deepseek-v3"),
    # DeepseekV4Config (transformers 5.23) but for attention, which is low rank there with heads of 512.
    (r"deepseek-v4", _experts(_llama(16, 4096, 64, 8, 12288, 129280), 256, 6, 2048, shared_ffn=2048)),
    (r"kimi", "kimi-k2"),
    (r"qwen3-30b", "qwen3-30b-a3b"),
    (r"qwen3-235b", "qwen3-235b-a22b"),
    (r"qwen3-next", _experts(_llama(48, 2048, 16, 2, 5632, 151936), 512, 10, 512, shared_ffn=512, head_dim=256)),
    (r"gpt-oss-120b", _experts(_llama(36, 2880, 64, 8, 2880, 201088), 128, 4, 2880, **_OSS)),
    (r"gpt-oss-20b", _experts(_llama(24, 2880, 64, 8, 2880, 201088), 32, 4, 2880, **_OSS)),
    (r"qwen1.5-moe", "qwen1.5-moe-a2.7b"),
    (r"qwen2-57b", "qwen2-57b-a14b"),
    (r"mixtral-8x22b", "mixtral-8x22b"),
    (r"llama4-maverick", "llama-4-maverick"),
    (r"llama4-scout", "llama-4-scout"),
    (r"gpt4-4x16b", _experts(_llama(40, 5120, 40, 40, 20480, 100352), 4, 2, 20480)),
    # Hybrids of state-space and attention layers, as decoders of as many active and total parameters.
    # Nemotron 3: pairs of a state-space layer and experts without a gate, some pairs with attention besides: 23 and 6
    # of Nano (megatron-bridge 0.3.1, Nemotron3NanoProvider). Super's experts work on a quarter of the width: 22 of 512
    # there, as 6 of 128 on the whole, which move as much (its shape and Ultra's: assumed; not looked up).
    (r"nemotron-(3|v3)-nano", {**_experts(_llama(23, 2688, 64, 2, 5376, 131072), 128, 6, 1856, shared_ffn=3712),
        **_STATE_SPACE, "global_every": 4}),
    (r"nemotron-(3|v3)-super", {**_experts(_llama(40, 4096, 108, 4, 8192, 131072), 128, 6, 2464, shared_ffn=6400),
        **_STATE_SPACE, "global_every": 5}),
    (
        r"nemotron-v3-ultra",
        _experts(_llama(54, 8192, 64, 2, 16384, 131072), 256, 8, 2560, shared_ffn=5120, head_dim=128),
    ),
    # 54 pairs of a state-space layer (438 M) and an MLP of 32768, 10 layers of attention (megatron-bridge 0.3.1).
    (r"nemotron-h-56b", {**_llama(54, 8192, 64, 64, 32768, 131072), "gated": False, "head_dim": 224}),
    (r"nemotron-8b", {**_gpt(32, 4096, 32, 256000), "positions": "rotary"}),
    (r"gpt3-23b", _gpt(48, 6144, 48)),
    (r"stablelm", {**_gpt(16, 4096, 32, 50688), "positions": "rotary"}),
    (r"phi-2", "phi-2"),
    (r"phi-3-mini", "phi-3-mini"),
    (r"falcon-7b", "falcon-7b"),
    (r"gemma4?-2b", "gemma-2b"),
    (r"gemma-7b", "gemma-7b"),
    (r"gemma4-4b", "gemma-3-4b"),
    (r"gemma4-26b", "qwen3-30b-a3b"),
    (r"gemma4-31b", "gemma-3-27b"),
    (r"wan2.1-14b", {**_gpt(40, 5120, 40, 64), "ffn": 13824, "causal": False}),
    (r"llama-3.2-3b", "llama-3.2-3b"),
    (r"mistral-7b", "mistral-7b"),
    (r"internlm-20b", _llama(60, 5120, 40, 40, 13824, 103168)),
    (r"llama3-70b$", "llama-3-70b"),
    (r"llama3-style-1.8b", _llama(24, 2048, 16, 16, 5632, 128256)),
    (r"qwen-72b", "qwen2-72b"),
    (r"chatglm3-6b", {**_llama(28, 4096, 32, 2, 13696, 65024)}),
    (r"smollm-1.7b", _llama(24, 2048, 32, 32, 8192, 49152)),
    (r"^7b$", "llama-2-7b"),
    (r"gopher", {**_gpt(80, 16384, 128, 32000), "positions": "rotary"}),
    (r"t0-3b", {**_gpt(48, 2048, 32, 32128), "head_dim": 64, "ffn": 5120}),
    (r"bloomz-7b1", "bloom-7b1"),
    (r"esm2-150m", {**_gpt(30, 640, 20, 33), "causal": False}),
    (r"dinov2", {**_gpt(40, 1536, 24, 1000), "causal": False}),
    (r"bert-20b", {**_gpt(48, 6144, 48, 30522), "causal": False}),
    (r"bert-100b", {**_gpt(96, 9216, 96, 30522), "causal": False}),
    (r"bert-1.3b", {**_gpt(24, 2048, 16, 30522), "causal": False}),
    (r"deberta", {**_gpt(48, 1536, 24, 128100), "causal": False}),
    (r"gpt-2-style-0.345b", _gpt(24, 1024, 16, 50257)),
    (r"gpt-2-style-0.75b", _gpt(24, 1536, 16, 50257)),
    (r"gpt-2-style-1.4b", _gpt(24, 2048, 16, 50257)),
    (r"gpt-2-style-6.7b", _gpt(32, 4096, 32, 50257)),
    (r"gpt-2-style-13b", _gpt(40, 5120, 40, 50257)),
    (r"gpt-2-style-20b", _gpt(44, 6144, 48, 50257)),
    (r"gpt-style-40b-320b", _gpt(96, 12288, 96)),
    (r"open-lm-41m", _experts(_llama(8, 256, 4, 4, 768, 50432), 8, 2, 768)),
    (r"open-lm-87m", _experts(_llama(12, 488, 8, 8, 1536, 50432), 8, 2, 1536)),
    (r"open-lm-160m", _experts(_llama(12, 768, 12, 12, 2048, 50432), 8, 2, 2048)),
    (r"open-lm-830m-8", _experts(_llama(24, 1536, 16, 16, 4096, 50432), 8, 2, 4096)),
    (r"open-lm-410m", _llama(24, 1024, 16, 16, 2816, 50432)),
    (r"open-lm-830m", _llama(24, 1536, 16, 16, 4096, 50432)),
    (r"gdn-300m|kda-300m", _llama(24, 1024, 16, 16, 2816, 32000)),
    (r"vit-22b-gpt-175b", _gpt(108, 12288, 96)),  # the vision encoder as 12 more blocks of the decoder
    (r"vit-22b", {**_gpt(48, 6144, 48, 1000), "ffn": 24576, "causal": False}),
    (r"stable-diffusion", "stable-diffusion"),
    (r"flux", {**_gpt(57, 3072, 24, 64), "causal": False, "ffn": 14336}),
    (r"imagen-base-2b", "imagen-2b"),
    (r"imagen", "imagen-600m"),
    (r"u-net", "u-net"),
    (r"amoebanet", "amoebanet"),
)  # fmt: skip
"""Pattern on the lower-case name, and the preset, the shape, or the network that is no transformer."""
