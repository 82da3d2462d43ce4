"""What a published row leaves out of its split, filled in as somebody who had that software would have run it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from trainwright.cost.memory import peak_bytes
from trainwright.cost.memory_rules import memory_rules
from trainwright.cost.published.footprint import is_quantized
from trainwright.cost.published.row import Row
from trainwright.cost.published.software import is_lora, is_sharded_by_xla, stack_name
from trainwright.hardware.device import Device
from trainwright.jobs.job import Objective, Workload
from trainwright.jobs.strategy import Recompute, Strategy
from trainwright.models.spec import ModelSpec

USUAL_TOKENS = 2048
"""Tokens of a sample where a row names none."""

MICRO_TOKENS = 16384
"""Tokens a device sees at a time beyond which no software's throughput rises, and no benchmark's batch goes."""

STEP_TOKENS = 4e6
"""Tokens of a step of pretraining on many nodes (GPT-3: 3.2 million; LLaMA: 4 million, arXiv:2302.13971)."""

STAGE_MICRO_BATCHES = 8
"""Micro-batches for every pipeline stage where a row says nothing of its batch."""


def filled(strategy: Strategy, row: Row, model: ModelSpec, device: Device, seq: int) -> Strategy:
    """The strategy with recomputation and micro-batch where the row names none: what memory has room for.

    As few blocks recomputed as one sample needs to fit; then as many samples at a time as fit.
    """
    if model.unit != "tokens":
        return strategy
    if is_sharded_by_xla(row):  # the whole step is one graph, without accumulation
        strategy = replace(strategy, micro_batch=local_batch(row, strategy))
        return strategy if row["recompute"] else recomputed(strategy, row, model, device, seq)
    least = 1 if unstated_micro_batch(row, int(strategy.pp)) else int(strategy.micro_batch)
    if not row["recompute"] and strategy.recompute == "none":
        found = recomputed(replace(strategy, micro_batch=least), row, model, device, seq)
        strategy = replace(found, micro_batch=strategy.micro_batch)
    if not unstated_micro_batch(row, int(strategy.pp)):
        return strategy
    most = local_batch(row, strategy)
    while int(strategy.micro_batch) > 1:
        size = int(strategy.micro_batch)
        if most % size == 0 and size * seq <= MICRO_TOKENS and fits(strategy, row, model, device, seq):
            break
        strategy = replace(strategy, micro_batch=size // 2)
    return strategy


def recomputed(strategy: Strategy, row: Row, model: ModelSpec, device: Device, seq: int) -> Strategy:
    """The strategy with as few blocks recomputed as let it run, where nothing is said: none, some, else all."""
    shares: list[tuple[Recompute, int]] = [("none", 1), ("full", 1)]
    if stack_name(row) in BLOCKWISE:
        shares[1:1] = [("full", 4), ("full", 3), ("full", 2)]
    if stack_name(row) == "maxtext":
        shares[1:1] = [("selective", 1)]
    for how, every in shares:
        strategy = replace(strategy, recompute=how, recompute_every=every)
        if fits(strategy, row, model, device, seq):
            break
    return strategy


BLOCKWISE = ("nemo", "mlperf", "megatron-core", "maxtext")
"""Stacks that recompute some blocks and keep the others' activations (Megatron-Core, recompute_num_layers), or parts of
all (remat policies between "minimal" and "full": save_out_proj, save_qkv_proj, save_dot_except_mlpwi; maxtext 0.2.5,
configs/base.yml, whose default is "full"; what the rows ran with is not printed)."""


def unstated_micro_batch(row: Row, pp: int) -> bool:
    """Whether nothing in the row tells how many samples a device sees at a time; pipelines then run one."""
    if row.says(*NAMED_MICRO_BATCHES):
        return False
    return pp == 1 and not row.count("micro_batch", 0) and not row.count("grad_accum", 0)


NAMED_MICRO_BATCHES = {"extensions/thunder/pretrain.py": 4}
"""Samples at a time of scripts that rows name: the default of litgpt pretrain."""


def local_batch(row: Row, strategy: Strategy) -> int:
    """Samples of one replica in a step; a large power of two where the row does not say."""
    batch = row.count("global_batch", 0) or row_batch(row)
    return max(batch // int(strategy.dp), 1) if batch else 1 << 10


def row_batch(row: Row) -> int:
    """Samples of a step that prints both its time and its tokens per second, else 0."""
    if told := re.search(r"total_weights (\d+)", row["other_notes"]):  # MaxText's word for the tokens of a step
        return round(int(told[1]) / row.count("seq_len", USUAL_TOKENS))
    rate, seconds, seq = row.number("tokens_per_s_per_gpu"), row.number("step_time_s"), row.count("seq_len", 0)
    if row.count("global_batch", 0) or not (rate and seconds and seq):
        return 0
    return round(rate * seconds * row.count("gpus", 1) / seq)


def fits(strategy: Strategy, row: Row, model: ModelSpec, device: Device, seq: int) -> bool:
    """Whether the memory model has it in the device's memory."""
    batch = int(strategy.dp) * int(strategy.micro_batch)
    adapters = is_lora(row)
    objective: Objective = "lora" if adapters else "pretrain"
    work = Workload(global_batch=batch, seq=seq, objective=objective, quantized_base=adapters and is_quantized(row))
    rules = memory_rules(stack_name(row))
    if adapters and strategy.precision in NARROW:
        rules = replace(rules, parameter_bytes=NARROW_BYTES)
    need = peak_bytes(model, work, strategy, rules)
    return float(np.max(need)) < device.memory_bytes


NARROW = ("fp8", "fp4")
NARROW_BYTES = 1.0
"""Bytes of a frozen weight beside adapters that are trained in 8 bits: it is kept as it is multiplied (fp8_params of
NVIDIA's MLPerf recipe, Llama 2 70B LoRA since v4.0; 70 GB a device without tensor parallelism fit no other way)."""


def usual_batch(row: Row, strategy: Strategy, seq: int, n_devices: int) -> int:
    """Samples of a step that a row does not tell: pipelines filled, and on many nodes as large as pretraining's."""
    replicas, pp = int(strategy.dp) * int(strategy.micro_batch), int(strategy.pp)
    accumulated = row.count("grad_accum", 0)
    if accumulated:
        return replicas * accumulated
    least = 1 if pp == 1 else STAGE_MICRO_BATCHES * pp
    if n_devices > 8 and strategy.zero_stage < 3 and not is_lora(row):
        least = max(least, round(STEP_TOKENS / (replicas * seq)))
    return replicas * least
