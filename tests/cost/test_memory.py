"""Memory of a step: papers' figures, sharding by hand, and arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trainwright.cost.inflight import residence
from trainwright.cost.memory import MEMORY_PARTS, step_memory
from trainwright.cost.memory_rules import MemoryRules, memory_rules
from trainwright.errors import InvalidInputError
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.shape import Shape
from trainwright.models.spec import Matmul
from trainwright.models.transformer import decoder

LLAMA = decoder(Shape(layers=8, hidden=512, heads=8, kv_heads=4, ffn=1024, vocabulary=1000))
MEGATRON = memory_rules("megatron-2021")


def gpt(layers: int, hidden: int, heads: int) -> Any:
    return decoder(
        Shape(
            family="gpt", layers=layers, hidden=hidden, heads=heads, vocabulary=51200, max_seq=2048, norm="layer",
            gated=False, activation="gelu", positions="learned", fused_qkv=True, qkv_bias=True, out_bias=True,
            mlp_bias=True, dropout=True, tied=True,
        )
    )  # fmt: skip


def parts(model: Any, strategy: Strategy, rules: MemoryRules, **workload: Any) -> Any:
    return step_memory(model, Workload(**{"global_batch": 8, "seq": 512} | workload), strategy, rules)[0]


@pytest.mark.parametrize(
    ("sequence_parallel", "attention", "per_token_and_unit"),
    [
        (False, "plain", 10 + 24 / 8 + 5 * 64 * 2048 / (6144 * 8)),
        (True, "plain", 34 / 8 + 5 * 64 * 2048 / (6144 * 8)),
        (True, "flash", 34 / 8),
    ],
)
def test_a_layer_keeps_what_korthikanti_counts(
    sequence_parallel: bool, attention: Any, per_token_and_unit: float
) -> None:
    # Korthikanti et al., Table 2: bytes per layer = s b h (10 + 24 / t + 5 a s / (h t)), and with sequence parallel.
    strategy = Strategy(tp=8, micro_batch=4, precision="fp16", sequence_parallel=sequence_parallel)
    rules = replace(MEGATRON, attention=attention)
    more, less = (
        parts(gpt(layers, 6144, 64), strategy, rules, global_batch=4, seq=2048)["activations"] for layers in (48, 24)
    )
    assert (more - less) / 24 / (2048 * 4 * 6144) == pytest.approx(per_token_and_unit, rel=0.01)


def test_states_of_mixed_precision_adam_are_18_bytes_a_parameter() -> None:
    held = parts(LLAMA, Strategy(dp=8), MEGATRON)
    n = LLAMA.n_parameters
    assert [held[part] / n for part in ("parameters", "gradients", "optimizer")] == pytest.approx([2, 4, 12])


@pytest.mark.parametrize(("stage", "expected"), [(0, 18), (1, 6 + 12 / 8), (2, 2 + 16 / 8), (3, 18 / 8)])
def test_each_zero_stage_shards_more(stage: int, expected: float) -> None:
    held = parts(LLAMA, Strategy(dp=8, zero_stage=stage), MEGATRON)
    states = sum(held[part] for part in ("parameters", "gradients", "optimizer"))
    assert states / LLAMA.n_parameters == pytest.approx(expected)


@pytest.mark.parametrize(
    ("optimizer", "moments"), [("sgd", 4.0), ("adamw", 8.0), ("adamw8bit", 2.0), ("adafactor", 0.02), ("muon", 4.2)]
)
def test_optimizers_keep_their_moments(optimizer: Any, moments: float) -> None:
    held = parts(LLAMA, Strategy(precision="fp32"), memory_rules("trainwright"), optimizer=optimizer)
    assert held["optimizer"] / LLAMA.n_parameters == pytest.approx(moments, abs=0.02)


def test_lora_trains_little() -> None:
    full = parts(LLAMA, Strategy(), MEGATRON)
    lora = parts(LLAMA, Strategy(), MEGATRON, objective="lora", lora_rank=8)
    assert lora["optimizer"] + lora["gradients"] < 0.05 * (full["optimizer"] + full["gradients"])


def test_a_base_in_four_bits_takes_little() -> None:
    lora, qlora = (
        parts(LLAMA, Strategy(), memory_rules("litgpt"), objective="lora", lora_rank=8, quantized_base=quantized)
        for quantized in (False, True)
    )
    matrices = sum(op.n_parameters for op in LLAMA.blocks[1].ops if isinstance(op, Matmul)) * 8
    assert lora["parameters"] - qlora["parameters"] == pytest.approx(matrices * (2 - 0.5625))


@pytest.mark.parametrize(
    ("rank", "batch", "seq", "shape", "published_gib"),
    [  # LitGPT resource tables (Lightning-AI/litgpt, Oct 2023) and finetune table: LoRA in bf16 on one GPU
        (8, 1, 1304, {"layers": 32, "hidden": 4096, "heads": 32, "ffn": 11008, "vocabulary": 32000}, 21.30),
        (8, 2, 1304, {"layers": 32, "hidden": 4096, "heads": 32, "ffn": 11008, "vocabulary": 32000}, 29.1),
        (8, 1, 1304, {"layers": 40, "hidden": 5120, "heads": 40, "ffn": 13824, "vocabulary": 32000}, 38.1),
        (8, 2, 512, {"layers": 32, "hidden": 4096, "heads": 32, "ffn": 11008, "vocabulary": 32000}, 19.8),
        (
            8, 1, 512,
            {"layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 8, "ffn": 14336, "vocabulary": 128256}, 19.7,
        ),
    ],
)  # fmt: skip
def test_lora_peaks_as_published(rank: int, batch: int, seq: int, shape: Any, published_gib: float) -> None:
    held = parts(
        decoder(Shape(**shape)), Strategy(micro_batch=batch, precision="bf16"), memory_rules("litgpt"),
        global_batch=batch, seq=seq, objective="lora", lora_rank=rank,
    )  # fmt: skip
    assert sum(held.values()) / 2**30 == pytest.approx(published_gib, rel=0.08)


def test_recomputation_keeps_less_and_the_less_the_more_blocks() -> None:
    peaks = [
        sum(parts(LLAMA, Strategy(micro_batch=8, recompute=recompute, recompute_every=every), MEGATRON).values())
        for recompute, every in (("none", 1), ("full", 2), ("selective", 1), ("full", 1))
    ]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] > 1.5 * peaks[-1]


def test_dropped_modules_and_adapters_with_dropout_keep_what_they_name() -> None:
    tokens, fused = 2 * 512, memory_rules("megatron-core")
    drops = replace(fused, selective="ops", recomputed=("mlp_out", "attention"))

    def active(rules: MemoryRules, recompute: Any, **workload: Any) -> float:
        strategy = Strategy(micro_batch=2, precision="bf16", recompute=recompute)
        return float(parts(LLAMA, strategy, rules, global_batch=2, **workload)["activations"])

    dropped = tokens * 2 * (1024 + 512 + 2 * 256) + tokens * 4 * 8  # mlp_out's input; q, k and v, and the statistics
    assert active(fused, "none") - active(drops, "selective") == pytest.approx(7 * dropped, rel=0.2)
    lora = {"objective": "lora", "lora_rank": 8}
    plain, dropout = (
        active(replace(memory_rules("litgpt"), adapter_dropout=on), "none", **lora) for on in (False, True)
    )
    inputs = 3 * (512 + 512 + 2 * 512 + 1024) - 2 * (512 + 512 + 512 + 1024)  # three bytes for two, gate and up apart
    assert dropout - plain == pytest.approx(8 * tokens * inputs, rel=0.2)


def test_the_first_stage_is_the_fullest_and_holds_the_micro_batches_in_flight() -> None:
    strategy = Strategy(pp=4, micro_batch=1)
    _, stages = step_memory(LLAMA, Workload(global_batch=16, seq=2048), strategy, MEGATRON)
    first, second, last = (stage["activations"] for stage in stages)
    assert first > second > last


def test_stages_hold_every_block_once() -> None:
    for strategy in (Strategy(pp=1), Strategy(pp=2), Strategy(pp=3), Strategy(pp=3, stages=(2, 3, 3))):
        where = residence(LLAMA, strategy, 8.0)
        ends, body = where.repeats[0].sum(), where.repeats[1].sum()
        assert ends == where.repeats[2].sum() == where.is_last.sum() == 1
        assert body == 8


def test_arrays_equal_scalars() -> None:
    tp, pp, dp = np.array([1, 2, 1, 1, 2]), np.array([1, 1, 2, 4, 2]), np.array([8, 4, 4, 2, 2])
    for recompute in ("none", "selective", "full"):
        table = Strategy(dp=dp, tp=tp, pp=pp, zero_stage=3, sequence_parallel=True, recompute=recompute)
        together = parts(LLAMA, table, memory_rules("torchtitan"))
        for i in range(len(tp)):
            one = replace(table, dp=int(dp[i]), tp=int(tp[i]), pp=int(pp[i]))
            alone = parts(LLAMA, one, memory_rules("torchtitan"))
            assert [together[part][i] for part in MEMORY_PARTS] == pytest.approx([alone[part] for part in MEMORY_PARTS])


def test_an_unknown_stack_is_told_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match="unknown stack 'torchtitian'") as error:
        memory_rules("torchtitian")
    assert "torchtitan" in str(error.value.hint)
