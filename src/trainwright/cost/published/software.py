"""Which stack, precision and sharding a published row ran with."""

from __future__ import annotations

import re
from dataclasses import replace

from trainwright.cost.published.row import Row
from trainwright.cost.stack import Stack, stack
from trainwright.jobs.strategy import Offload, Precision, Recompute

STACKS: tuple[tuple[str, str], ...] = (
    (r"optimum-habana", "optimum-habana"),
    (r"mlperf.*(habana|gaudi)|habana|gaudi", "gaudi"),
    (r"korthikanti", "megatron-2022"),
    (r"deepspeed\+megatron|dlperf deepspeed", "megatron-deepspeed"),
    (r"dlperf gpt.*oneflow 0", "eager-2020"),
    (r"deepspeed zero-3|bmtrain", "deepspeed"),
    (r"vtrain|bigscience|gpt-neox|pythia|glm-130b|bloom|megatron-deepspeed", "megatron-deepspeed"),
    (r"sc21|sep 2020|jan 2021|apr 2021|mt-nlg|dlperf gpt", "megatron-2021"),
    (r"frontier", "megatron-core"),  # a port with FlashAttention and ZeRO-1 (Dash et al., arXiv:2312.12705, section IV)
    (r"libai", "libai"),
    (r"zero bubble|vocabulary parallelism", "zero-bubble"),
    (r"llm-foundry|llm foundry|mosaicml|composer", "llm-foundry"),
    (r"modalities", "modalities"),
    (r"automodel", "automodel"),
    (r"kempner", "kempnerforge"),
    (r"torchtitan|float8 \+ fsdp2|olmo-core|fsdp2", "torchtitan"),
    (r"tinyllama|lit-gpt fork", "llm-foundry"),  # FSDP with the fused kernels of flash-attention's repository
    (r"litgpt|lit-gpt", "litgpt"),
    (r"maxtext|levanter|palm|haiku|\btpu\b", "maxtext"),
    (r"pax|t5x", "paxml"),
    (r"neuron", "neuron"),
    (r"modellink|mindspore|ascend", "mindspeed"),
    # Megatron-Core with Transformer Engine on Hopper is what NeMo runs on
    (r"mcore r0\.8|readme strong scaling|megatron-lm examples/llama", "nemo"),
    (r"mlperf.*(megatron|nemo)|nemo|megatron-bridge|moe-modelzoo|together", "nemo"),
    (r"mlperf", "mlperf"),
    (r"transformer-xl|deeplearningexamples|ngc|lddl", "ngc"),
    (r"dlperf|torchgpipe", "eager-2020"),
    (r"modded-nanogpt|llm\.c|flash-attention|compile", "compiled"),
    (r"megascale|megatron-core|mcore|primus|infinigence|megatron", "megatron-core"),
    (r"optimus|axonn|nanotron|gigatron|\bmeta\b", "megatron-core"),  # tensor and pipeline parallel with fused kernels
    (r"xtuner|paddle|deepspeed|bmtrain|easycontext|nnscaler", "deepspeed"),
    (r"torchtune|torchao|peft|hf |transformers|llama-factory|qlora", "hf-eager"),
    (r"fsdp", "fsdp"),
)
"""Framework, source and device as text, matched in order."""


def stack_name(row: Row) -> str:
    """The stack that fits what the row says of its source, framework and device."""
    text = f"{row['source']} {row['framework']} {row['gpu']}".casefold()
    if row["source"].startswith("MLPerf") and re.search(NVIDIA, row["gpu"]):
        return "nemo" if is_recipe(row) else "mlperf"
    if row.says(WHOLE_GRADIENTS):
        return "megatron-2021"
    return next((name for pattern, name in STACKS if re.search(pattern, text)), "fsdp")


def is_recipe(row: Row) -> bool:
    """Whether an MLPerf row on NVIDIA's devices is of a benchmark whose code is NeMo's, whoever submits: GPT, Llama,
    Stable Diffusion. The list of containers that submitters print is of all their benchmarks.
    """
    ours = is_decoder(row) or "stable diffusion" in row["model_name"].casefold()
    return row["source"].startswith("MLPerf") and ours and bool(re.search(NVIDIA, row["gpu"]))


WHOLE_GRADIENTS = "no gradient bucketing"
"""A Megatron-DeepSpeed run without DeepSpeed's engine, which always sums gradients in buckets: Megatron's own loop."""

NVIDIA = r"\b(V100|A100|A30|H100|H200|B200|B300|GB200|GB300|L40S?)\b"


def is_decoder(row: Row) -> bool:
    """Whether the row's name is a GPT or a Llama."""
    return bool(re.search(r"gpt|llama", row["model_name"].casefold()))


def in_narrow_rounds(row: Row) -> bool:
    """Whether an MLPerf row is a language model of round 3.1 or later, which all vendors with FP8 ran in FP8.

    Source: MLCommons, Training v3.1 results, November 2023: NVIDIA's since v3.0, Intel's Gaudi 2 since v3.1.
    """
    found = re.match(r"MLPerf Training v(\d+\.\d+)", row["source"])
    return bool(found) and is_decoder(row) and float(found[1] if found else 0) > 3.05 and "TPU" not in row["gpu"]


def precision(row: Row) -> Precision:
    """The format of the wide matmuls; a row that says nothing ran in 16 bits, but for late MLPerf's.

    >>> from trainwright.cost.published.row import COLUMNS
    >>> blank = dict.fromkeys(COLUMNS, "")
    >>> precision(Row(text=blank | {"precision": "mxfp8"})), precision(Row(text=blank | {"precision": "amp"}))
    ('fp8', 'fp16')
    """
    text = row["precision"].casefold()
    if re.search(r"nvfp4|fp4\)", text) and "nf4" not in text:
        return "fp4"
    if not text and in_narrow_rounds(row):
        return "fp8"
    if "fp8" in text or "int8 mixed" in text:
        return "fp8"
    if "tf32" in text:
        return "tf32"
    if "bf16" in text:
        return "bf16"
    if "fp16" in text or text.startswith("amp") or "autocast:amp" in text:
        return "fp16"
    if "fp32" in text or "32-bit" in text:
        return "tf32" if re.search(WIDE_IN_NARROW, row["gpu"]) else "fp32"
    return "fp16" if re.search(r"V100|P40|not stated", row["gpu"]) else "bf16"


WIDE_IN_NARROW = r"A100|A30|H100|Trainium"
"""Devices whose libraries multiply fp32 in fewer bits unless told not to: TF32. That neuronx-cc casts to bf16 unasked
is assumed; not looked up (optimum-neuron 0.4.5 says --auto-cast none where it wants none)."""


def recompute(row: Row) -> Recompute:
    """Which activations are made again; rows that do not say keep them all."""
    text = row["recompute"].casefold() or (ALL_AGAIN if row.says("nemo megatron (neuron") else "")
    return "full" if text.startswith("full") else "selective" if text.startswith("selective") else "none"


ALL_AGAIN = "full"
"""What NeMo on Neuron recomputes: assumed; not looked up."""


def zero_stage(row: Row) -> int:
    """0 to 3 from the many ways tables write it."""
    text = row["zero_stage_or_fsdp"].casefold()
    if "shard_grad_op" in text or "zero2" in text or "stage2" in text or row.says("zero-2-like"):
        return 2
    if "fsdp" in text or "zero3" in text:
        return 3
    if "zero1" in text or "distributed" in text or "stage1" in text:
        return 1
    if not text and is_sharded_by_xla(row):
        return 3
    return 1 if not text and stack_name(row) in SHARDING else 0


def is_sharded_by_xla(row: Row) -> bool:
    """Whether a row of MaxText on TPU names no axis: its own configuration leaves the devices to ``ici_fsdp``, set -1.

    Source: maxtext 0.2.5, configs/base.yml ("recommended ICI axis to be auto-sharded"). That rows left it so: assumed.
    """
    stated = row["tp"] or row["pp"] or row["zero_stage_or_fsdp"]
    return not stated and stack_name(row) == "maxtext" and "TPU" in row["gpu"] and row["arch"] not in ("bert", "cnn")


SHARDING = ("nemo", "megatron-core")
"""Stacks whose recipes shard optimizer states over data parallel unless told not to."""


def offload(row: Row) -> Offload:
    """What is kept in the host's memory."""
    sharding, notes = row["zero_stage_or_fsdp"].casefold(), row["other_notes"].casefold()
    if "cpu offload" in sharding:
        return "parameters"
    stated = re.search(r"\+ offload|zero3 offload", sharding) or "cpu offload with fused" in notes
    return "optimizer" if stated or re.search(r"optimizer offload: (?!none)", notes) else "none"


def shard_ways(row: Row, dp: int, per_node: int, tp: int) -> int | None:
    """How many replicas share one copy of the states, where that is less than all of them."""
    text = row["zero_stage_or_fsdp"].casefold()
    if match := re.search(r"(?:shard[ =]*|^fsdp )(\d+)", text):
        return min(int(match[1]), dp)
    if "hybrid" in text:
        return min(per_node, dp)
    if "over ici" in text and (slices := re.search(r"(\d+) slice", row["interconnect"])):
        return max(row.count("gpus", dp * tp) // (int(slices[1]) * tp), 1)
    return None


def is_lora(row: Row) -> bool:
    """Whether only small added matrices were trained: LoRA, or LLaMA-Adapter's prefixes."""
    text = " ".join((row["model_name"], row["framework"], row["other_notes"])).casefold()
    return bool(re.search(r"\bq?lora\b(?! 4-gpu rows)|finetuning with adapter", text))


def stack_of(row: Row) -> Stack:
    """The stack, with what the row says of its kernels and of what it exchanges in place of the usual."""
    known = _kernels(row, stack(stack_name(row)))
    if row.says("dp comm overlap on"):
        known = replace(known, overlap_tp=NEMO.overlap_tp, overlap_pp=NEMO.overlap_pp)
    if row.says("dispatcher=-"):
        known = replace(known, sends_once=False)
    if row.says("a2a_overlap=true"):
        known = replace(known, overlap_ep=NEMO.overlap_dp)
    if graphs := re.search(r"cuda_graph=(full_iteration|transformer_engine/\['attn)", row["other_notes"]):
        whole = graphs[1] == "full_iteration"
        known = replace(known, dispatch_s=0.0) if whole else known
        known = replace(known, experts_s=known.experts_s * (0.0 if whole else OUTSIDE_GRAPHS))
    if row.says("tokendrop"):
        known = replace(known, experts_s=known.experts_s * WITH_CAPACITY)
    if row.says("method vocab", "method interlaced"):
        known = replace(known, shared_head=True)
    if known.name == "optimum-habana" and zero_stage(row):
        # overlap_comm = false: DeepSpeed's own for stages 1 and 2 (deepspeed 0.19.8, zero/config.py), for 3 assumed
        known = replace(known, overlap_dp=0.0, overlap_fsdp=0.0)
    if row.says("asynctp"):
        known = replace(known, overlap_tp=NEMO.overlap_tp)
    if "fsdp full_shard default" in row["zero_stage_or_fsdp"].casefold():
        known = replace(known, reduce_bytes=4.0)
    return known


def _kernels(row: Row, known: Stack) -> Stack:
    """Attention, compilation, formats and what is recomputed, as the row says."""
    flash, compiled = row.flag("flash_attention"), row.flag("compile")
    if flash is not None and flash != (known.attention == "flash") and known.name != FUSING:
        known = replace(known, attention="flash" if flash else "plain", causal_skip=flash)
    if compiled and not known.fused:
        known = replace(
            known, fused=True, pointwise_traffic=COMPILED.pointwise_traffic, kernel_share=COMPILED.kernel_share
        )
    if found := re.search(r"neuronx distributed \(neuron 2\.(\d+)", row["framework"].casefold()):
        flashes = int(found[1]) >= FLASH_RELEASE
        known = replace(known, attention="flash", causal_skip=True) if flashes else known
    if compiled is False and known.name == "torchtitan":
        known = replace(known, fused=False, pointwise_traffic=1.0, kernel_share=1.0)
    if FLASH_2_CONTAINER in row["source"]:
        known = replace(known, ampere_flash=True)
    if "mxfp8" in row["precision"].casefold():
        known = replace(known, block_scaled=True)
    if row.says("qkv_proj_offloaded"):
        known = replace(known, selective_share=MOST_OF_A_BLOCK)
    return known


OUTSIDE_GRAPHS = 0.7
"""Of what a block with experts costs the host, what remains where attention and the router alone are graphs. Read off
the rows it is judged by, as experts_s itself."""

FLASH_RELEASE = 20
"""The Neuron release from which neuronx-distributed's Llama takes a fused attention kernel: assumed; not looked up, and
its rows show no such step (docs/accuracy.md)."""

WITH_CAPACITY = 0.5
"""The same where experts take a fixed number of tokens and drop the rest: no count is waited for. Read off them too."""

FLASH_2_CONTAINER = "24.03"
"""NeMo's container with Transformer Engine 1.4, which took FlashAttention-2 on Hopper too; later ones cuDNN's."""

MOST_OF_A_BLOCK = 0.75
"""Share of forward repeated where the projections of queries, keys and values alone are kept: 3 of 12 hidden^2."""

FUSING = "maxtext"
"""XLA on TPU puts the softmax into the products around it, flash attention or not."""

COMPILED, NEMO = stack("compiled"), stack("nemo")
