"""What a published row's memory figure counts, and what the run kept that its stack's usual rules lack."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from trainwright.cost.memory import peak_bytes
from trainwright.cost.memory_rules import MemoryRules, memory_rules, occupied_bytes, reserved_bytes
from trainwright.cost.published.row import Row
from trainwright.cost.published.software import is_lora, stack_name
from trainwright.jobs.job import OptimizerName, Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import ModelSpec

Reading = Literal["allocated", "reserved", "occupied"]
"""What the source read: torch's live tensors, what its allocator holds, or what nvidia-smi shows."""

READINGS: tuple[tuple[str, Reading], ...] = (
    (r"nvidia-smi|mlperf|peft/accelerate|flagperf|internevo|dgx cloud|oneflow|infinigence", "occupied"),
    (r"max_memory_allocated|max allocated|peak alloc|peak memory active|zero bubble|litgpt|lit-gpt", "allocated"),
    (r"reserved|torchtitan|fsdp_qlora|torchtune|torchao|qwen3-8b", "reserved"),
)
"""Notes, framework and source as text, matched in order; allocated where none does."""

NAMES: tuple[tuple[str, str], ...] = (
    (r"torchtune|torchao", "torchtune"),
    (r"internevo", "internevo"),
    (r"aquila|ms-amp|simumax", "megatron-core"),
    (r"fsdp_qlora", "fsdp-qlora"),
    (r"paddle", "paddle"),
)
"""Text of a row, and the table of data/memory.toml where it is not the one of the stack's name."""

RULES: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"zero bubble", {"attention": "plain"}),  # Qi et al. build on a Megatron-LM without flash attention
    (r"schedule zb-2p", {"in_flight_scale": 2.0, "even_in_flight": True}),  # arXiv:2401.10241, section 3
    (r"schedule zb-1p", {"even_in_flight": True}),
    (r"method vocab-1", {"spread_ends": True, "in_flight_more": 2.0}),  # arXiv:2411.05288, section 5
    (r"method vocab-2", {"spread_ends": True, "in_flight_more": 1.0}),
    (r"method interlaced", {"spread_ends": True, "in_flight_scale": 1.5}),
    (r"q?lora fine-tuning; max_seq", {"adapter_dropout": True}),  # LitGPT's config_hub: lora_dropout 0.05 on all
    (r"adapter on 1 gpu; [24],|adapter_v2", {"result_copies": 1.0}),  # kept for the gradient of their scales
    (r"internevo.* fsdp\b", {"gradient_bytes": 6.0}),  # its own FSDP optimizer copies shards to fp32, and flattens none
    (r"litgpt-ft.*(with (lora|adapter)|lora fine-tuning)", {"loss_bytes": 4.0}),  # it takes head and loss in chunks
    (r"bf16 \(fp32 grad accumulation\)", {"gradient_bytes": 6.0}),  # DeepSpeed's bf16 optimizer sums in fp32 aside
    (r"torchtune-3b-opt-[3-7]|torchtune readme memory|_cef\b", {"loss_bytes": 4.0}),  # a loss in chunks, or fused
    (r"lora on multiple gpus|full-4gpu", {"keeps_whole": True}),  # LitGPT's FSDP holds the whole model above the shards
    (r"llm\.c", {"loss_bytes": 4.0}),  # the loss writes its gradient over the logits
    (r"torchtitan-20250|torchtitan-nvfp4", {"loss_bytes": 4.0}),  # the loss is compiled with the model
    (
        r"nvfp4 \(last",
        {"selective_share": 0.0},
    ),  # its products are ops of its own, which selective recomputation repeats
    (r"torchtune-3b-opt-[5-7]|torchtune-8b-full", {"gradient_bytes": 0.0}),  # the optimizer steps inside backward
)
"""Text of a row, and the rules that differ for it; all that match are taken."""

RECOMPUTED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("mla_up_proj", ("q_up", "kv_up", "rotary", "expand", "attention")),
    ("layernorm", ("qkv", "q_down", "mlp_in", "router")),
    ("moe_act", ("experts_out",)),
    ("mlp", ("mlp_in", "activation", "mlp_out")),
    ("shared_experts", ("shared_in", "shared_activation", "shared_out")),
    ("moe", ("router", "dispatch", "experts_in", "experts_activation", "experts_out",
             "shared_in", "shared_activation", "shared_out")),
)  # fmt: skip
"""Megatron-Core's modules of selective recomputation, and the ops whose tensors it drops (recompute_modules)."""

OFFLOADS: tuple[tuple[str, str], ...] = (
    (r"fsdp \+ cpu offload|zero3 offload|lora deepspeed cpu offload|cpu offload with fused", "parameters"),
    (r"full-1gpu.*full fine-tuning; max_seq", "optimizer"),  # what was read holds parameters and gradients, not states
    (r"optimizer offload: (deepspeed|ao)|pagedadamw|torchtune-8b-full", "optimizer"),
)

SHARDED_BY_DEFAULT = ("megatron-core", "nemo", "mlperf")
"""Stacks whose recipes shard the optimizer over data parallel ranks unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """How to ask the memory model about a row, and how to compare.

    ``fits``: whether it ran, None where the row does not tell; ``tells``: whether the row states enough for its
    running, or not, to be a test: its recomputation and how its states were divided.
    """

    workload: Workload
    strategy: Strategy
    rules: MemoryRules
    reading: Reading
    fits: bool | None
    tells: bool

    def allocated(self, model: ModelSpec) -> float:
        """Bytes of live tensors at the peak."""
        return float(np.max(peak_bytes(model, self.workload, self.strategy, self.rules)))

    def needed(self, allocated: float) -> float:
        """Bytes of a device it takes to run."""
        return float(reserved_bytes(allocated, self.rules)) + self.rules.context_bytes

    def as_read(self, allocated: float, how: Reading) -> float:
        """The figure that reading it this way would give."""
        if how == "allocated":
            return allocated
        if how == "reserved":
            return float(reserved_bytes(allocated, self.rules))
        axes = (self.strategy.dp, self.strategy.tp, self.strategy.cp, self.strategy.pp, self.strategy.ep)
        return float(occupied_bytes(allocated, float(sum(int(axis) > 1 for axis in axes)), self.rules))


def footprint(row: Row, model: ModelSpec, workload: Workload, strategy: Strategy, capacity: float) -> Footprint:
    """The question that a row's memory answers. What the row does not say is the least that fits the device."""
    text, rules, name = text_of(row), rules_of(row), stack_name(row)
    work = remembered(row, workload)
    split = _split(row, strategy, rules)
    if int(split.pp) > 1 and name == "torchtitan":
        # With pipelines nothing is resharded between micro-batches, and stages keep what they sent and received, and
        # buffers for the gradients (torch.distributed.pipelining.stage makes them for every micro-batch at once).
        rules = replace(rules, keeps_whole=True, stage_buffers=3.0)
    offload: Any = next((what for pattern, what in OFFLOADS if re.search(pattern, text)), split.offload)
    split = replace(split, offload=offload)
    asked = Footprint(
        workload=work, strategy=split, rules=rules, reading=reading(row), fits=fits(row),
        tells=_tells(row, split),
    )  # fmt: skip
    candidates = [split]
    if not row["zero_stage_or_fsdp"] and split.zero_stage == 0 and int(split.dp) > 1:
        candidates.append(replace(split, zero_stage=1))
    is_known = (
        row["recompute"]
        or name == "torchtitan"
        or (name == "litgpt" and (split.zero_stage == 0 or split.recompute == "full"))
    )
    if not is_known:  # LitGPT recomputes only where it shards
        candidates = [replace(one, recompute="none", recompute_every=1) for one in candidates] + [
            replace(candidates[-1], recompute="full", recompute_every=1)
        ]
    for one in candidates:
        asked = replace(asked, strategy=one)
        if asked.needed(asked.allocated(model)) < capacity:
            break
    return asked


def _tells(row: Row, strategy: Strategy) -> bool:
    """Whether it says how states were divided and what was recomputed; offloaded activations are not modelled."""
    if not row["recompute"] or not (row["zero_stage_or_fsdp"] or int(strategy.dp) == 1):
        return False
    return not re.search(r"cpu_offload_layers=[1-9]|analytical|\+offload|_offloaded", text_of(row))


def _split(row: Row, strategy: Strategy, rules: MemoryRules) -> Strategy:
    """The strategy with what its memory depends on and the row tells in passing."""
    name = stack_name(row)
    if row.says("same memory and runtime as 1 GPU") and is_lora(row):
        return replace(strategy, zero_stage=0)
    if not row["zero_stage_or_fsdp"] and name in SHARDED_BY_DEFAULT:
        strategy = replace(strategy, zero_stage=max(strategy.zero_stage, 1))
    if name == "litgpt" and strategy.zero_stage >= 3:
        return replace(strategy, recompute="full")  # its FSDP recomputes each block (litgpt/finetune/full.py)
    if name == "maxtext":
        return replace(strategy, sequence_parallel=True)  # its rules divide the residual stream over the tensor axis
    if name == "kempnerforge" and int(strategy.ep) > 1:
        return replace(strategy, micro_batch=row.count("micro_batch", 1))  # ranks of ep share their samples
    if name == "torchtitan" and not row["recompute"]:
        strategy = replace(strategy, recompute="selective")  # its train configs' default
    if int(strategy.pp) > 1 and name == "torchtitan" and row["micro_batch"]:
        # torchtitan cuts the local batch as in split.py (assumed there); how many stages a rank has is
        # not printed, and the one interleaved peak is that of one
        size = max(row.count("micro_batch", 1) // int(strategy.pp), 1)
        return replace(strategy, micro_batch=size, schedule="1f1b", virtual_stages=1)
    return strategy


def text_of(row: Row) -> str:
    """All that a row says in words."""
    columns = ("id", "source", "framework", "precision", "zero_stage_or_fsdp", "model_name", "other_notes")
    return " ".join(row[column] for column in columns).casefold()


def reading(row: Row) -> Reading:
    """What the source read."""
    text = text_of(row)
    return next((kind for pattern, kind in READINGS if re.search(pattern, text)), "allocated")


def rules_of(row: Row) -> MemoryRules:
    """The rules of the row's stack, with what the row says of its loss, its schedule and its adapters."""
    text = text_of(row)
    name = next((name for pattern, name in NAMES if re.search(pattern, text)), stack_name(row))
    changes: dict[str, Any] = {}
    for pattern, change in RULES:
        if re.search(pattern, text):
            changes |= change
    if found := re.search(r"recompute_modules=\[([^\]]+)\]", text):
        modules = re.findall(r"\w+", found[1])
        dropped = tuple(op for module, ops in RECOMPUTED if module in modules for op in ops)
        changes |= {"selective": "ops", "recomputed": dropped}
    if is_quantized(row):
        changes["input_copies"] = 1.0  # bitsandbytes' 4-bit product keeps what it multiplies
    return replace(memory_rules(name), **changes)


def is_quantized(row: Row) -> bool:
    """Whether what is not trained is kept in four bits."""
    text = " ".join((row["precision"], row["model_name"], row["other_notes"].split(";")[0])).casefold()
    return bool(re.search(r"nf4|4-bit base|\bqlora\b", text))


def remembered(row: Row, workload: Workload) -> Workload:
    """The workload with what memory depends on and time hardly: 8-bit moments, a base in four bits, adapters."""
    optimizer: OptimizerName = workload.optimizer
    if re.search(r"8-bit adamw|\+8bit|4-bit adamw|pagedadamw|opt-7", text_of(row)):
        optimizer = "adamw8bit"
    little = is_lora(row) or row.says("with adapter")
    return replace(
        workload,
        optimizer=optimizer,
        objective="lora" if little else workload.objective,
        quantized_base=is_quantized(row) and little,
    )


def fits(row: Row) -> bool | None:
    """Whether the row ran; None where it gives no figure of a run, or one and that it ran out of memory."""
    columns = ("step_time_s", "tokens_per_s_per_gpu", "tflops_per_gpu", "mfu_pct", "hfu_pct", "peak_mem_gib")
    ran = any(row.number(name) for name in columns)
    failed = bool(re.search(r"\boom\b(?! at \d+ gpus)|out of memory", row["other_notes"].casefold()))
    return None if ran == failed else ran
