"""Which stack, precision and sharding a published row ran with."""

from __future__ import annotations

import re

from trainwright.cost.published.row import Row
from trainwright.jobs.strategy import Precision, Recompute

STACKS: tuple[tuple[str, str], ...] = (
    (r"mlperf.*(habana|gaudi)|habana|gaudi", "gaudi"),
    (r"korthikanti", "megatron-2022"),
    (r"vtrain|bigscience|glm-130b|bloom|megatron-deepspeed|frontier", "megatron-deepspeed"),
    (r"sc21|sep 2020|jan 2021|apr 2021|mt-nlg|dlperf gpt|dlperf deepspeed", "megatron-2021"),
    (r"libai", "libai"),
    (r"zero bubble|vocabulary parallelism", "zero-bubble"),
    (r"llm-foundry|llm foundry|mosaicml|composer", "llm-foundry"),
    (r"modalities", "modalities"),
    (r"automodel", "automodel"),
    (r"kempner", "kempnerforge"),
    (r"torchtitan|float8 \+ fsdp2|olmo-core|fsdp2", "torchtitan"),
    (r"litgpt|tinyllama|lit-gpt", "litgpt"),
    (r"maxtext|levanter|palm|haiku|\btpu\b", "maxtext"),
    (r"pax|t5x", "paxml"),
    (r"neuron", "neuron"),
    (r"modellink|mindspore|ascend", "mindspeed"),
    (r"mlperf.*(megatron|nemo)|nemo|megatron-bridge|moe-modelzoo|together", "nemo"),
    (r"mlperf", "mlperf"),
    (r"transformer-xl|deeplearningexamples|ngc|lddl", "ngc"),
    (r"dlperf|torchgpipe|paddle", "eager-2020"),
    (r"modded-nanogpt|llm\.c|flash-attention|compile", "compiled"),
    (r"megascale|megatron-core|mcore|primus|infinigence|megatron", "megatron-core"),
    (r"xtuner|deepspeed|bmtrain|easycontext|nnscaler", "deepspeed"),
    (r"torchtune|torchao|peft|hf |transformers|llama-factory|qlora", "hf-eager"),
    (r"fsdp", "fsdp"),
)
"""Framework, source and device as text, matched in order."""


def stack_name(row: Row) -> str:
    """The stack that fits what the row says of its source, framework and device."""
    text = f"{row['source']} {row['framework']} {row['gpu']}".casefold()
    return next((name for pattern, name in STACKS if re.search(pattern, text)), "fsdp")


def precision(row: Row) -> Precision:
    """The format of the wide matmuls; a row that says nothing ran in 16 bits.

    >>> from trainwright.cost.published.row import COLUMNS
    >>> blank = dict.fromkeys(COLUMNS, "")
    >>> precision(Row(text=blank | {"precision": "mxfp8"})), precision(Row(text=blank | {"precision": "amp"}))
    ('fp8', 'fp16')
    """
    text = row["precision"].casefold()
    if re.search(r"nvfp4|fp4\)", text) and "nf4" not in text and "fp8 or" not in text:
        return "fp4"
    if "fp8" in text or "int8 mixed" in text:
        return "fp8"
    if "tf32" in text:
        return "tf32"
    if "bf16" in text:
        return "bf16"
    if "fp16" in text or text.startswith("amp") or "autocast:amp" in text:
        return "fp16"
    if "fp32" in text or "32-bit" in text:
        return "tf32" if re.search(r"A100|A30|H100", row["gpu"]) else "fp32"
    return "fp16" if re.search(r"V100|P40|not stated", row["gpu"]) else "bf16"


def recompute(row: Row) -> Recompute:
    """Which activations are made again; rows that do not say keep them all."""
    text = row["recompute"].casefold()
    return "full" if text.startswith("full") else "selective" if text.startswith("selective") else "none"


def zero_stage(row: Row) -> int:
    """0 to 3 from the many ways tables write it."""
    text = row["zero_stage_or_fsdp"].casefold()
    if "shard_grad_op" in text or "zero2" in text or "stage2" in text:
        return 2
    if "fsdp" in text or "zero3" in text:
        return 3
    if "zero1" in text or "distributed" in text or "stage1" in text:
        return 1
    return 0


def shard_ways(row: Row, dp: int, per_node: int) -> int | None:
    """How many replicas share one copy of the states, where that is less than all of them."""
    text = row["zero_stage_or_fsdp"].casefold()
    if match := re.search(r"(?:shard[ =]*|^fsdp )(\d+)", text):
        return min(int(match[1]), dp)
    if "hybrid" in text:
        return min(per_node, dp)
    return None


def is_lora(row: Row) -> bool:
    """Whether only small added matrices were trained."""
    return bool(
        re.search(r"\bq?lora\b", " ".join((row["model_name"], row["framework"], row["other_notes"])).casefold())
    )
