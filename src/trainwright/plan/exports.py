"""A strategy as the settings of other software: torchtitan, Megatron-Core, DeepSpeed, Hugging Face Accelerate.

Each exporter answers a file's text and notes on what that software cannot say. Keys as of torchtitan 0.2 (config
docs), Megatron-Core 0.15 (arguments.py), DeepSpeed 0.18 (config-json page) and Accelerate 1.11 (config template),
November 2025; what they mean is theirs to change.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from shlex import quote
from typing import Any

from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.plan.choice import stages_text

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One file for one software: its name, its text, and what could not be said in it."""

    software: str
    file_name: str
    text: str
    notes: tuple[str, ...]


def exports(strategy: Strategy, workload: Workload) -> tuple[Export, ...]:
    """The strategy in every software's own words."""
    return tuple(
        Export(software=name, file_name=file_name, text=write(settings(strategy, workload)), notes=notes(strategy))
        for name, (file_name, settings, write, notes) in _SOFTWARE.items()
    )


def accumulation(strategy: Strategy, workload: Workload) -> int:
    """Micro-batches that one replica does in a step.

    >>> accumulation(Strategy(dp=4, micro_batch=2), Workload(global_batch=64, seq=128))
    8
    """
    return int(workload.global_batch // (strategy.dp * strategy.micro_batch))


def _shard(strategy: Strategy) -> int:
    """Ranks that share one copy of the states: 1 without ZeRO."""
    if strategy.zero_stage == 0:
        return 1
    return int(strategy.dp if strategy.shard is None else strategy.shard)


def torchtitan(strategy: Strategy, workload: Workload) -> Settings:
    """Sections of torchtitan's TOML. Its tensor parallelism always is sequence parallel, its sharding is FSDP."""
    schedule = {"gpipe": "GPipe", "1f1b": "1F1B", "interleaved": "Interleaved1F1B", "zero_bubble": "ZBVZeroBubble"}
    parallelism: Settings = {
        "data_parallel_replicate_degree": int(strategy.dp) // _shard(strategy),
        "data_parallel_shard_degree": _shard(strategy),
        "fsdp_reshard_after_forward": "always" if strategy.zero_stage == 3 else "never",
        "tensor_parallel_degree": int(strategy.tp),
        "context_parallel_degree": int(strategy.cp),
        "context_parallel_rotate_method": "alltoall" if strategy.cp_kind == "all_to_all" else "allgather",
        "pipeline_parallel_degree": int(strategy.pp),
        "expert_parallel_degree": int(strategy.ep),
    }
    if strategy.pp > 1:
        parallelism["pipeline_parallel_schedule"] = schedule[strategy.schedule]
        parallelism["pipeline_parallel_microbatch_size"] = int(strategy.micro_batch)
    mode: Settings = {"mode": strategy.recompute if strategy.recompute_every == 1 else "selective"}
    if mode["mode"] == "selective":
        mode["selective_ac_option"] = str(strategy.recompute_every) if strategy.recompute == "full" else "op"
    per_rank = workload.global_batch // int(strategy.dp) if strategy.pp > 1 else int(strategy.micro_batch)
    dtype = {"bf16": "bfloat16", "fp16": "float16"}.get(strategy.precision, "float32")
    training: Settings = {
        "local_batch_size": per_rank,
        "global_batch_size": workload.global_batch,
        "seq_len": workload.seq,
        "mixed_precision_param": "bfloat16" if strategy.precision == "fp8" else dtype,
        "mixed_precision_reduce": "float32",
        "enable_cpu_offload": strategy.offload != "none",
    }
    return {"training": training, "parallelism": parallelism, "activation_checkpoint": mode}


def _torchtitan_notes(strategy: Strategy) -> tuple[str, ...]:
    notes = []
    if strategy.tp > 1 and not strategy.sequence_parallel:
        notes.append("torchtitan's tensor parallelism always is sequence parallel")
    if strategy.zero_stage == 1:
        notes.append("ZeRO-1 becomes FSDP that keeps parameters gathered (ZeRO-2): gradients are sharded too")
    if strategy.precision == "fp8":
        notes.append("fp8 is a model converter there: add [model] converters = ['float8']")
    if strategy.virtual_stages > 1:
        notes.append("virtual stages follow there from pipeline_parallel_layers_per_stage")
    if divided := stages_text(strategy.stages or ()):
        notes.append(f"blocks of the stages, {divided}, go into module_fqns_per_model_part, one list a stage")
    return tuple(notes)


def megatron(strategy: Strategy, workload: Workload) -> Settings:
    """Arguments of Megatron-LM's pretrain scripts; True stands for a flag without a value."""
    settings: Settings = {
        "tensor-model-parallel-size": int(strategy.tp),
        "pipeline-model-parallel-size": int(strategy.pp),
        "context-parallel-size": int(strategy.cp),
        "expert-model-parallel-size": int(strategy.ep),
        "micro-batch-size": int(strategy.micro_batch),
        "global-batch-size": workload.global_batch,
        "seq-length": workload.seq,
    }
    if strategy.sequence_parallel:
        settings["sequence-parallel"] = True
    if strategy.cp > 1:
        settings["cp-comm-type"] = "a2a" if strategy.cp_kind == "all_to_all" else "p2p"
    if strategy.virtual_stages > 1:
        settings["num-virtual-stages-per-pipeline-rank"] = int(strategy.virtual_stages)
    if stages_text(strategy.stages or ()):
        settings["pipeline-model-parallel-layout"] = f"E{'|'.join('t' * n for n in strategy.stages or ())}L"
    if strategy.precision in ("bf16", "fp16"):
        settings[strategy.precision] = True
    if strategy.precision == "fp8":
        settings |= {"bf16": True, "fp8-format": "hybrid"}
    return settings | _megatron_states(strategy) | _megatron_recompute(strategy)


def _megatron_states(strategy: Strategy) -> Settings:
    settings: Settings = {}
    if strategy.zero_stage == 1:
        settings["use-distributed-optimizer"] = True
        if _shard(strategy) < strategy.dp:
            settings["num-distributed-optimizer-instances"] = int(strategy.dp) // _shard(strategy)
    if strategy.zero_stage > 1:
        sharded = "optim_grads" if strategy.zero_stage == 2 else "optim_grads_params"
        settings |= {"use-megatron-fsdp": True, "data-parallel-sharding-strategy": sharded}
    if strategy.offload != "none":
        settings["optimizer-cpu-offload"] = True
    return settings


def _megatron_recompute(strategy: Strategy) -> Settings:
    if strategy.recompute == "none":
        return {}
    if strategy.recompute == "selective":
        return {"recompute-granularity": "selective"}
    return {
        "recompute-granularity": "full",
        "recompute-method": "uniform",
        "recompute-num-layers": 1,
    }


def _megatron_notes(strategy: Strategy) -> tuple[str, ...]:
    notes = []
    if strategy.recompute == "full" and strategy.recompute_every > 1:
        notes.append(
            f"every {strategy.recompute_every}-th block: use --recompute-method block with that share of the layers"
        )
    if strategy.offload == "parameters":
        notes.append("Megatron offloads optimizer states, not parameters")
    if strategy.schedule == "zero_bubble":
        notes.append("zero-bubble schedules are in a fork of Megatron-LM only")
    return tuple(notes)


def deepspeed(strategy: Strategy, workload: Workload) -> Settings:
    """DeepSpeed's JSON. Pipeline stages are code there, not configuration."""
    zero: Settings = {"stage": strategy.zero_stage, "overlap_comm": True, "contiguous_gradients": True}
    if strategy.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if strategy.offload == "parameters":
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    if strategy.zero_stage == 3 and _shard(strategy) < strategy.dp:
        zero["zero_hpz_partition_size"] = _shard(strategy)
    settings: Settings = {
        "train_batch_size": workload.global_batch,
        "train_micro_batch_size_per_gpu": int(strategy.micro_batch),
        "gradient_accumulation_steps": accumulation(strategy, workload),
        "zero_optimization": zero,
        "bf16": {"enabled": strategy.precision in ("bf16", "fp8")},
        "fp16": {"enabled": strategy.precision == "fp16"},
    }
    if workload.clip:
        settings["gradient_clipping"] = 1.0
    if strategy.tp > 1:
        settings["tensor_parallel"] = {"autotp_size": int(strategy.tp)}
    if strategy.cp > 1:
        settings["sequence_parallel_size"] = int(strategy.cp)
    return settings


def _deepspeed_notes(strategy: Strategy) -> tuple[str, ...]:
    notes = []
    if strategy.pp > 1:
        notes.append(f"pipeline: build the model as PipelineModule(num_stages={strategy.pp}); it goes with ZeRO 0 or 1")
    if divided := stages_text(strategy.stages or ()):
        notes.append(f"blocks of the stages, {divided}, are PipelineModule's partition_method to find")
    if strategy.recompute != "none":
        notes.append("recomputation: call the model's gradient_checkpointing_enable()")
    if strategy.cp > 1 and strategy.cp_kind == "ring":
        notes.append("DeepSpeed's sequence parallelism is by all-to-all (Ulysses), not a ring")
    return tuple(notes)


def accelerate(strategy: Strategy, workload: Workload) -> Settings:
    """Accelerate's YAML with FSDP 2 and its parallelism section."""
    sharded = strategy.zero_stage > 0
    many = "FSDP" if sharded or strategy.tp > 1 or strategy.cp > 1 else "MULTI_GPU"
    settings: Settings = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": many if strategy.n_devices > 1 else "NO",
        "mixed_precision": "no" if strategy.precision in ("fp32", "tf32") else strategy.precision,
        "num_processes": int(strategy.n_devices),
        "gradient_accumulation_steps": accumulation(strategy, workload),
    }
    if many == "FSDP" and strategy.n_devices > 1:
        settings["fsdp_config"] = {
            "fsdp_version": 2,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_reshard_after_forward": strategy.zero_stage == 3,
            "fsdp_activation_checkpointing": strategy.recompute == "full",
            "fsdp_offload_params": strategy.offload != "none",
            "fsdp_state_dict_type": "SHARDED_STATE_DICT",
        }
        settings["parallelism_config"] = {
            "parallelism_config_dp_replicate_size": int(strategy.dp) // _shard(strategy),
            "parallelism_config_dp_shard_size": _shard(strategy),
            "parallelism_config_tp_size": int(strategy.tp),
            "parallelism_config_cp_size": int(strategy.cp),
        }
    return settings


def _accelerate_notes(strategy: Strategy) -> tuple[str, ...]:
    notes = []
    if strategy.pp > 1:
        notes.append("Accelerate trains without pipelines: this file holds the other axes only")
    if strategy.ep > 1:
        notes.append("Accelerate has no expert parallelism")
    if strategy.recompute == "selective" or strategy.recompute_every > 1:
        notes.append("Accelerate recomputes every block or none")
    if strategy.zero_stage in (1, 2):
        notes.append("fsdp_reshard_after_forward false is ZeRO-2; ZeRO-1 is not there")
    return tuple(notes)


def _toml(settings: Settings) -> str:
    lines: list[str] = []
    for section, values in settings.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


def _arguments(settings: Settings) -> str:
    flags = (f"--{key}" if value is True else f"--{key} {quote(str(value))}" for key, value in settings.items())
    return " \\\n".join(flags) + "\n"


def _json(settings: Settings) -> str:
    return json.dumps(settings, indent=2) + "\n"


def _yaml(settings: Settings) -> str:
    lines: list[str] = []
    for key, value in settings.items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {inner}: {_scalar(v)}" for inner, v in value.items())]
        else:
            lines.append(f"{key}: {_scalar(value)}")
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    """A YAML scalar; "no" is quoted, since YAML reads it as false."""
    return f"'{value}'" if value in ("no", "NO") else json.dumps(value) if isinstance(value, bool) else str(value)


_SOFTWARE: dict[str, tuple[str, Callable[..., Settings], Callable[[Settings], str], Callable[..., tuple[str, ...]]]] = {
    "torchtitan": ("torchtitan.toml", torchtitan, _toml, _torchtitan_notes),
    "megatron-core": ("megatron.args", megatron, _arguments, _megatron_notes),
    "deepspeed": ("deepspeed.json", deepspeed, _json, _deepspeed_notes),
    "accelerate": ("accelerate.yaml", accelerate, _yaml, _accelerate_notes),
}
