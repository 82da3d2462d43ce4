"""How a published row divided its step, with what it leaves out filled in as that software would."""

from __future__ import annotations

import re
from dataclasses import replace
from math import gcd

from trainwright.cost.published.gaps import NAMED_MICRO_BATCHES, filled, row_batch, unstated_micro_batch
from trainwright.cost.published.row import Row
from trainwright.cost.published.software import (
    is_lora,
    is_recipe,
    is_sharded_by_xla,
    offload,
    precision,
    recompute,
    shard_ways,
    stack_name,
    zero_stage,
)
from trainwright.cost.stack import stack
from trainwright.hardware.cluster import Cluster
from trainwright.hardware.device import Device
from trainwright.jobs.strategy import Precision, Strategy
from trainwright.models.spec import Matmul, ModelSpec

FALLBACK: dict[str, tuple[Precision, ...]] = {
    "fp4": ("fp8", "bf16"),
    "fp8": ("bf16",),
    "bf16": ("fp16", "fp32"),
    "fp16": ("bf16", "fp32"),
    "tf32": ("fp32", "bf16"),
    "fp32": ("tf32", "bf16"),
}
"""What a device computes in when the table of peaks lacks the format a row names."""

STATE_BYTES = 18.0
FULL_SHARE = 0.7
HYBRID_SHARE = 0.4
MOST_AT_A_TIME = 16
LONG = 32768
"""Tokens from which a sample is cut over devices, not a model."""


def strategy_of(row: Row, model: ModelSpec, cluster: Cluster, seq: int) -> Strategy:
    """The split of a row."""
    device, n_devices = cluster.groups[0].device, cluster.groups[0].n_devices
    tp, pp, cp = spread(row, degrees(row, model, device, n_devices), n_devices)
    dp = max(n_devices // (tp * pp * cp), 1)
    known = stack(stack_name(row))
    stated_sp, vpp, stage = row.flag("sp"), row.count("vpp", chunks(row, pp)), zero_stage(row)
    strategy = Strategy(
        dp=dp,
        tp=tp,
        cp=cp,
        pp=pp,
        ep=expert_ways(row, model, dp * cp),
        micro_batch=micro_batch(row, dp, (tp, pp)),
        zero_stage=stage,
        shard=shard_ways(row, dp, row.count("gpus_per_node", 8), tp) if stage == 3 else None,
        sequence_parallel=tp > 1 and (known.sequence_parallel if stated_sp is None else stated_sp),
        schedule="interleaved" if vpp > 1 and pp > 1 else "1f1b",
        virtual_stages=max(vpp, 1) if pp > 1 else 1,
        stages=uneven(row, pp),
        recompute=recompute(row),
        precision=supported(precision(row), device),
        offload=offload(row),
    )
    strategy = shared(strategy, row, model, device)
    return filled(strategy, row, model, device, seq)


def expert_ways(row: Row, model: ModelSpec, most: int) -> int:
    """Devices that divide a layer's experts: as stated, but DeepEP, where a row names it, sends tokens to others.

    AutoModel's refuses to run undivided (nemo-automodel 0.7.0, MoEFlexTokenDispatcher: TPxEP > 1); how far: assumed.
    """
    stated = row.count("ep", 1)
    counts = [op.n_experts for block in model.blocks for op in block.ops if isinstance(op, Matmul)]
    if stated <= 1 and row.says("deepep"):
        return gcd(max(counts), most)
    return min(max(stated, 1), most)


def shared(strategy: Strategy, row: Row, model: ModelSpec, device: Device) -> Strategy:
    """States sharded over as few replicas as hold them, where a row says "fsdp + dp" and not how many."""
    if "fsdp+dp" not in row["zero_stage_or_fsdp"].casefold():
        return strategy
    ways = STATE_BYTES * model.n_parameters / (HYBRID_SHARE * device.memory_bytes)
    return replace(strategy, shard=min(power_of_two(ways), int(strategy.dp)))


def fewest(row: Row, tp: int) -> int:
    """The fewest samples at a time for which a stack's softmax is one kernel."""
    multiple = stack(stack_name(row)).softmax_multiple
    heads = row.count("heads", 0) / tp
    return next((n for n in (1, 2, 4) if heads * n % multiple == 0), 1)


def spread(row: Row, axes: tuple[int, int, int], n_devices: int) -> tuple[int, int, int]:
    """(tp, pp, cp) where the stated ones would leave replicas without a sample: the sequence is cut further."""
    tp, pp, cp = axes
    batch = row.count("global_batch", 0)
    replicas = row.count("dp", batch)
    left = n_devices // (tp * pp * cp * replicas) if batch and replicas <= batch else 1
    return (tp, pp, cp * left) if left > 1 and row.count("seq_len", 0) > LONG else axes


def supported(wanted: Precision, device: Device) -> Precision:
    """The format, or the nearest that the device has a peak for."""
    return next(known for known in (wanted, *FALLBACK[wanted], "fp32") if known in device.flop_per_s)


def degrees(row: Row, model: ModelSpec, device: Device, n_devices: int) -> tuple[int, int, int]:
    """(tp, pp, cp) as stated; where the row names none, the least that leaves a sample and the states their room."""
    tp, pp, cp = (max(row.count(axis, 1), 1) for axis in ("tp", "pp", "cp"))
    if is_sharded_by_xla(row):  # as many replicas as there are samples
        return power_of_two(n_devices / row.count("global_batch", n_devices)), 1, cp
    if row["tp"] or row["pp"] or zero_stage(row) == 3:
        return tp, pp, cp
    batch = row.count("global_batch", n_devices)
    if is_lora(row):  # adapters have next to no states: samples are cut
        return tp, pp, max(n_devices // batch, 1) if row["source"].startswith("MLPerf") else cp
    ways = max(n_devices / batch, STATE_BYTES * model.n_parameters / (FULL_SHARE * device.memory_bytes), 1.0)
    tp = power_of_two(min(ways, 8, n_devices))
    if row.count("seq_len", 0) > LONG and not row.says("without context parallel"):
        cp = power_of_two(min(ways / tp, n_devices / tp))
    else:
        pp = least_divisor(n_devices // tp, min(ways / tp, 32))
    return tp, pp, cp


def chunks(row: Row, pp: int) -> int:
    """Chunks of a stage where the row names none: one block in each for Llama 3 (arXiv:2407.21783, section 3.3.2).

    MLPerf's GPT-3 too, as the configurations of v3.0 that are told have it.
    """
    if row.says("interleaved1f1b"):
        return 2  # torchtitan 0.1.0, distributed/pipeline.py: two stages a rank
    one_each = row.says("llama 3 herd") or (is_recipe(row) and row["source"].endswith("v3.1 result logs"))
    return round(row.count("layers", pp) / pp) if one_each else 1


def uneven(row: Row, pp: int) -> tuple[int, ...] | None:
    """Blocks of each stage where a row says that the last one, which has the head, holds fewer than its share."""
    told, layers = re.search(r"(\d+) layers on last stage", row["other_notes"]), row.count("layers", 0)
    if not told or pp < 2 or int(told[1]) >= layers // pp:
        return None
    each, more = divmod(layers - int(told[1]), pp - 1)
    return (*(each + (stage < more) for stage in range(pp - 1)), int(told[1]))


def least_divisor(total: int, least: float) -> int:
    """The smallest divisor of ``total`` that is no less.

    >>> least_divisor(12, 5.0), least_divisor(16, 40.0)
    (6, 16)
    """
    return next((n for n in range(1, total + 1) if total % n == 0 and n >= least), total)


def power_of_two(least: float) -> int:
    """The smallest power of two that is no less.

    >>> power_of_two(5.0), power_of_two(0.3)
    (8, 1)
    """
    return 1 << max(0, (int(-(-least // 1)) - 1).bit_length())


def micro_batch(row: Row, dp: int, inside: tuple[int, int]) -> int:
    """Samples at a time on one replica, cut over ``inside`` (tp, pp): as stated, else what accumulation leaves;
    the fewest in pipelines that do not say.

    Where nothing tells, the most there could be: ``filled`` lowers it to what fits.
    """
    tp, pp = inside
    batch, stated = row.count("global_batch", 0) or row_batch(row), row.count("micro_batch", 0)
    if named := next((n for text, n in NAMED_MICRO_BATCHES.items() if row.says(text)), 0):
        return named
    if batch and pp == 1 and row.count("grad_accum", 0) == 1:
        return max(batch // dp, 1)
    if pp > 1 and stack_name(row) == "torchtitan" and stated:
        # It cuts the local batch, which its tables print, into one for each stage: assumed of the release of these rows
        # (0.1.0 takes one sample each). 1F1B takes 1.28 times interleaved's time: 8 would be 1.30, 32 would be 1.10.
        return max(stated // pp, 1)
    if pp > 1 and row.says("microbatch size not stated", "pipeline microbatches (size not stated"):
        stated = 1
    if unstated_micro_batch(row, pp):
        return 1 << (max(batch // dp, 1).bit_length() - 1) if batch else MOST_AT_A_TIME
    if not stated:
        stated = max(batch // (dp * row.count("grad_accum", 1)), 1) if pp == 1 and batch else fewest(row, tp)
    return max(min(stated, batch // dp), 1) if batch else stated
