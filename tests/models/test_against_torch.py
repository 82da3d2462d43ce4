"""FLOP, saved bytes and launched kernels of a spec against the same model run by transformers on the CPU."""

from functools import cache
from typing import Any

import pytest

pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

import transformers  # noqa: E402 (after the skip)
from tests.models.measure import Measured, measure  # noqa: E402

from trainwright.models.build import build  # noqa: E402
from trainwright.models.catalogue import shape_of  # noqa: E402
from trainwright.models.flop import backward_flop, forward_flop  # noqa: E402
from trainwright.models.huggingface import huggingface_config  # noqa: E402
from trainwright.models.saved import FP32, op_saved_bytes  # noqa: E402
from trainwright.models.spec import ModelSpec  # noqa: E402

SMALL = {"layers": 2, "hidden": 64, "heads": 4, "vocabulary": 100, "ffn": 96, "max_seq": 64}
LARGER = {"layers": 3, "hidden": 96, "heads": 6, "vocabulary": 250, "ffn": 256, "max_seq": 128}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"kv_heads": 2},
    "gpt2": {},
    "bert": {},
    "vit": {"image": 32, "patch": 8},
    "mixtral": {"kv_heads": 2, "experts": 8},
}
EVERY_FAMILY: dict[str, dict[str, Any]] = {
    **FAMILIES,
    "mistral": {"kv_heads": 2},
    "qwen2": {"kv_heads": 2},
    "qwen3": {"kv_heads": 2, "head_dim": 24},
    "gemma": {"kv_heads": 2, "head_dim": 24},
    "gemma2": {"kv_heads": 2, "head_dim": 24, "window": 4096, "global_every": 2},
    "gemma3": {"kv_heads": 2, "head_dim": 24, "window": 4096, "global_every": 2},
    "phi": {"rotary_dim": 8},
    "t5": {"gated": False, "activation": "relu", "tied": True, "head_dim": 16},
    "phi3": {},
    "opt": {},
    "bloom": {"ffn": 256, "max_seq": 2048},
    "mpt": {"ffn": 256},
    "falcon": {"kv_heads": 1},
    "gpt_neox": {"rotary_dim": 4},
    "nemotron": {"rotary_dim": 8},
    "qwen2_moe": {"experts": 8, "expert_ffn": 48, "shared_ffn": 32},
    "qwen3_moe": {"experts": 8, "expert_ffn": 48, "head_dim": 16},
    "deepseek_v2": {
        "kv_rank": 32, "nope_dim": 16, "rope_dim": 8, "v_dim": 16, "experts": 8, "expert_ffn": 48, "shared_ffn": 48,
        "dense_layers": 1,
    },
    "deepseek_v3": {
        "kv_rank": 32, "q_rank": 48, "nope_dim": 16, "rope_dim": 8, "v_dim": 16, "experts": 16, "expert_ffn": 48,
        "shared_ffn": 96, "dense_layers": 1,
    },
}  # fmt: skip
"""All families but Llama 4, whose transformers code sends every token through every expert."""

CASES = [(family, larger) for family in FAMILIES for larger in (False, True)]


@cache
def pair(family: str, larger: bool, attention: str = "sdpa") -> tuple[ModelSpec, Measured, int, int]:
    """The spec, what torch measured, batch and sequence."""
    batch, seq = (3, 48) if larger else (2, 16)
    shape = shape_of({"family": family, **(LARGER if larger else SMALL), **EVERY_FAMILY[family]})
    config = huggingface_config(shape)
    numbers = {key: value for key, value in config.items() if key not in ("model_type", "architectures")}
    settings = transformers.AutoConfig.for_model(config["model_type"], **numbers, attn_implementation=attention)
    torch.manual_seed(0)
    network = getattr(transformers, config["architectures"][0])._from_config(settings).train()
    tokens = torch.randint(0, shape.vocabulary, (batch, seq))
    inputs = {"input_ids": tokens, "labels": tokens.clone()}
    if shape.image:
        labels = torch.zeros(batch, dtype=torch.long)
        inputs = {"pixel_values": torch.randn(batch, 3, shape.image, shape.image), "labels": labels}
    return build(shape), measure(network, inputs), batch, seq


def close(predicted: float, measured: float, share: float) -> bool:
    return abs(predicted - measured) <= share * measured


@pytest.mark.parametrize(("family", "larger"), CASES)
def test_flop_equal_those_torch_counts(family: str, larger: bool) -> None:
    spec, measured, batch, seq = pair(family, larger)
    assert close(forward_flop(spec, batch, seq), measured.forward_flop, 0.005)
    assert close(backward_flop(spec, batch, seq), measured.backward_flop, 0.005)


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_flop_of_every_family_with_attention_written_out(family: str) -> None:
    spec, measured, batch, seq = pair(family, False, "eager")
    assert close(forward_flop(spec, batch, seq), measured.forward_flop, 0.005)
    assert close(backward_flop(spec, batch, seq, flash=False), measured.backward_flop, 0.005)


@pytest.mark.parametrize(("family", "larger"), CASES)
def test_saved_bytes_are_those_autograd_keeps(family: str, larger: bool) -> None:
    spec, measured, batch, seq = pair(family, larger)
    kept = sum(op_saved_bytes(op, batch, seq, FP32) * block.repeats for block in spec.blocks for op in block.ops)
    assert close(kept, measured.saved_bytes, 0.03)


@pytest.mark.parametrize(("family", "larger"), CASES)
def test_kernels_are_those_the_dispatcher_sees(family: str, larger: bool) -> None:
    spec, measured, _, _ = pair(family, larger)
    forward = sum(op.n_kernels * block.repeats for block in spec.blocks for op in block.ops)
    backward = sum(op.backward_kernels * block.repeats for block in spec.blocks for op in block.ops)
    assert close(forward, measured.forward_kernels, 0.1)
    assert close(backward, measured.backward_kernels, 0.1)
