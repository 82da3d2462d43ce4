"""Which model, weights and engine a row of published serving measurements means by its texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from trainwright.cost.published.architecture import named_shape
from trainwright.cost.serving.formats import WeightFormat, weight_format
from trainwright.models.build import build
from trainwright.models.catalogue import preset_shape, presets
from trainwright.models.shape import Shape
from trainwright.models.spec import ModelSpec

_GPT: Mapping[str, Any] = {"gated": False, "activation": "gelu", "norm": "layer", "positions": "learned"}
_OSS: Mapping[str, Any] = {
    "hidden": 2880, "heads": 64, "kv_heads": 8, "head_dim": 64, "ffn": 2880, "vocabulary": 201088,
    "experts_per_token": 4, "expert_ffn": 2880, "window": 128, "global_every": 2, "max_seq": 131072,
}  # fmt: skip

_MODELS: tuple[tuple[str, str | Mapping[str, Any]], ...] = (
    (r"gpt-20b", {**_GPT, "layers": 44, "hidden": 6144, "heads": 48, "vocabulary": 50257}),
    (r"gpt-89b", {**_GPT, "layers": 48, "hidden": 12288, "heads": 96, "vocabulary": 50257}),
    (r"gpt-175b", "gpt3-175b"),
    (r"megatron-530b", "megatron-530b"),
    (r"gpt-6.7b", "gpt3-6.7b"),
    (r"gpt-1.3b", "gpt3-1.3b"),
    (r"gpt-350m", "gpt3-350m"),
    (r"gpt-3-2.7b", "gpt3-2.7b"),
    (r"gpt3-xl", {**_GPT, "layers": 24, "hidden": 3072, "heads": 24, "vocabulary": 50257}),
    (
        r"gpt-j-6b",
        {
            **_GPT, "layers": 28, "hidden": 4096, "heads": 16, "vocabulary": 50400, "norms": "parallel",
            "positions": "rotary", "rotary_dim": 64, "head_bias": True,
        },
    ),
    (r"bert-large", "bert-large"),
    (r"bert-performance", "bert-base"),
    (r"deepseek-r1-14b", "qwen2.5-14b"),
    (r"deepseek-r1", "deepseek-v3"),
    (
        r"deepseek-33b",
        {"layers": 62, "hidden": 7168, "heads": 56, "kv_heads": 8, "ffn": 19200, "vocabulary": 32256},
    ),
    (
        r"code-?llama-34b",
        {"layers": 48, "hidden": 8192, "heads": 64, "kv_heads": 8, "ffn": 22016, "vocabulary": 32000},
    ),
    (r"mixtral-46.7b|mixtral-8x7b", "mixtral-8x7b"),
    (r"vicuna-7b|llama-2-7b|llama2-7b", "llama-2-7b"),
    (r"llama-2-13b|llama2-13b", "llama-2-13b"),
    (r"llama-2-70b|llama2-70b|^llama-70b", "llama-2-70b"),
    (r"^llama-7b", "llama-1-7b"),
    (r"^llama-33b", "llama-1-33b"),
    (r"llama-v?3\.[13]-8b|llama-3-8b", "llama-3-8b"),
    (r"llama-v?3\.[13]-70b|llama-3-70b", "llama-3-70b"),
    (r"llama-v?3\.1-405b", "llama-3.1-405b"),
    (r"llama-v4-maverick", "llama-4-maverick"),
    (r"llama-3.2-3b", "llama-3.2-3b"),
    (r"gpt-oss-20b", {**_OSS, "layers": 24, "experts": 32}),
    (r"gpt-oss-120b", {**_OSS, "layers": 36, "experts": 128}),
    (r"qwen2.5-7b", "qwen2-7b"),
    (r"phi-3.5-3b", "phi-3-mini"),
    (r"tinyllama", "tinyllama-1.1b"),
)  # fmt: skip
"""Pattern on the lower-case name, and the preset or the shape. Sources: each model's own config; GPT of 20B and 89B:
FasterTransformer, docs/gpt_guide.md."""


@cache
def served_model(text: str) -> ModelSpec | None:
    """The model of a row, or None.

    >>> served_model("gpt | Performance of GPT-20B").n_blocks, served_model("swin | FP16") is None
    (46, True)
    >>> served_model("Qwen/Qwen3-8B-Instruct").name
    'qwen3-8b'
    """
    name = re.sub(r"[^a-z0-9.]+", "-", text.casefold()).strip("-")
    for pattern, what in _MODELS:
        if re.search(pattern, name):
            shape = preset_shape(what) if isinstance(what, str) else Shape(name=name, source=text, **what)
            return build(shape)
    known = named_shape(text)
    if isinstance(known, Shape):
        return build(known)
    inside = [preset for preset in presets() if re.search(rf"(?<![a-z0-9.]){re.escape(preset)}(?![a-z0-9.])", name)]
    return build(preset_shape(max(inside, key=len))) if inside else None


_FORMATS = (
    (r"q4_k_m|q4_k|q4_0|ollama default", "q4_k_m"),
    (r"nvfp4|mxfp4", "fp4"),
    (r"4-bit|int4|awq|gptq|w4a16|exl2", "int4"),
    (r"int8|w8a8", "int8"),
    (r"q8_0", "q8_0"),
    (r"fp8", "fp8"),
    (r"bf16", "bf16"),
    (r"fp16|f16", "fp16"),
    (r"fp32", "fp32"),
)


def served_format(precision: str) -> WeightFormat | None:
    """The weights' format; EXL2 says its own bits.

    >>> served_format("EXL2 3.0 bpw g-").bits, served_format("TF32") is None
    (3.0, True)
    """
    text = precision.casefold()
    found = next((weight_format(name) for pattern, name in _FORMATS if re.search(pattern, text)), None)
    stated = re.search(r"([\d.]+) bpw", text)
    return replace(found, bits=float(stated[1])) if found and stated else found


_ENGINES = (
    (r"fastertransformer.*(: ft latency|way tp|single gpu|tp-|fp16 latency|int8-v2)", "fastertransformer"),
    (r"fastertransformer.*megatron", "megatron"),
    (r"fastertransformer.*torchscript", "hf-plain"),
    (r"tensorrt-llm v0", "tensorrt-llm-v0"),
    (r"tensorrt-llm", "tensorrt-llm"),
    (r"vllm \((nov )?202[34]\)|vllm v?0\.[1-7]\b", "vllm-v0"),
    (r"vllm", "vllm"),
    (r"sglang", "sglang"),
    (r"\btgi\b|text.generation.inference", "tgi"),
    (r"llama.?cpp|ollama", "llama.cpp"),
    (r"mlc", "mlc-llm"),
    (r"exllama", "exllama"),
    (r"autoawq", "autoawq"),
    (r"lmdeploy", "lmdeploy"),
    (r"pytorch fusion", "hf-compiled"),
    (r"pytorch eager", "hf-plain"),
    (r"transformers|hugging ?face", "hf-eager"),
)


def served_by(framework: str, source: str, scenario: str, device: str) -> str | None:
    """The engine of a row, or None.

    >>> served_by("vLLM (Nov 2024)", "dstack", "offline throughput 1FP8-meta", "MI300X")
    'vllm-v0-fbgemm'
    """
    text = framework.casefold()
    found = next((name for pattern, name in _ENGINES if re.search(pattern, text)), None)
    if found == "vllm" and "llm-perf-bench" in source:  # of 2023
        return "vllm-v0"
    if found == "vllm-v0" and "meta" in scenario.casefold() and device.startswith("MI"):
        return "vllm-v0-fbgemm"
    return found
