"""How a published row divided its step, with what it leaves out filled in as that software would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trainwright.cost.memory import peak_bytes
from trainwright.cost.memory_rules import memory_rules
from trainwright.cost.published.row import Row
from trainwright.cost.published.software import is_lora, precision, recompute, shard_ways, stack_name, zero_stage
from trainwright.cost.stack import stack
from trainwright.hardware.cluster import Cluster
from trainwright.hardware.device import Device
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Precision, Strategy
from trainwright.models.spec import ModelSpec

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


def strategy_of(row: Row, model: ModelSpec, cluster: Cluster, seq: int) -> Strategy:
    """The split of a row."""
    device, n_devices = cluster.groups[0].device, cluster.groups[0].n_devices
    tp, pp, cp = degrees(row, model, device, n_devices)
    dp = max(n_devices // (tp * pp * cp), 1)
    known = stack(stack_name(row))
    stated_sp, vpp, stage = row.flag("sp"), row.count("vpp", 1), zero_stage(row)
    strategy = Strategy(
        dp=dp,
        tp=tp,
        cp=cp,
        pp=pp,
        ep=min(max(row.count("ep", 1), 1), dp * cp),
        micro_batch=micro_batch(row, dp, pp),
        zero_stage=stage,
        shard=shard_ways(row, dp, row.count("gpus_per_node", 8)) if stage == 3 else None,
        sequence_parallel=tp > 1 and (known.sequence_parallel if stated_sp is None else stated_sp),
        schedule="interleaved" if vpp > 1 and pp > 1 else "1f1b",
        virtual_stages=max(vpp, 1) if pp > 1 else 1,
        recompute=recompute(row),
        precision=supported(precision(row), device),
    )
    return strategy if row["recompute"] else fitted(strategy, row, model, device, seq)


def supported(wanted: Precision, device: Device) -> Precision:
    """The format, or the nearest that the device has a peak for."""
    return next(known for known in (wanted, *FALLBACK[wanted], "fp32") if known in device.flop_per_s)


def degrees(row: Row, model: ModelSpec, device: Device, n_devices: int) -> tuple[int, int, int]:
    """(tp, pp, cp) as stated; where the row names none, the least that leaves a sample and the states their room."""
    tp, pp, cp = (max(row.count(axis, 1), 1) for axis in ("tp", "pp", "cp"))
    if row["tp"] or row["pp"] or zero_stage(row) == 3 or is_lora(row):
        return tp, pp, cp
    batch = row.count("global_batch", n_devices)
    ways = max(n_devices / batch, STATE_BYTES * model.n_parameters / (FULL_SHARE * device.memory_bytes), 1.0)
    tp = _power_of_two(min(ways, 8, n_devices))
    if row.count("seq_len", 0) > 32768:
        cp = _power_of_two(min(ways / tp, n_devices / tp))
    else:
        pp = _power_of_two(min(ways / tp, n_devices / tp, 16))
    return tp, pp, cp


def _power_of_two(least: float) -> int:
    """The smallest power of two that is no less.

    >>> _power_of_two(5.0), _power_of_two(0.3)
    (8, 1)
    """
    return 1 << max(0, (int(-(-least // 1)) - 1).bit_length())


def micro_batch(row: Row, dp: int, pp: int) -> int:
    """Samples at a time on one replica: as stated, else what accumulation leaves; 1 in pipelines that do not say."""
    batch, stated = row.count("global_batch", 0), row.count("micro_batch", 0)
    if pp > 1 and row.says("microbatch size not stated", "pipeline microbatches (size not stated"):
        stated = 1
    if not stated:
        stated = max(batch // (dp * row.count("grad_accum", 1)), 1) if pp == 1 and batch else 1
    return max(min(stated, batch // dp), 1) if batch else stated


def fitted(strategy: Strategy, row: Row, model: ModelSpec, device: Device, seq: int) -> Strategy:
    """Recomputation for a row that does not tell of any: none where that fits, else full."""
    if model.unit != "tokens":
        return strategy
    batch = row.count("global_batch", 0) or int(strategy.dp) * int(strategy.micro_batch)
    work = Workload(global_batch=batch, seq=seq, objective="lora" if is_lora(row) else "pretrain")
    need = peak_bytes(model, work, strategy, memory_rules(stack_name(row)))
    return strategy if float(np.max(need)) < device.memory_bytes else replace(strategy, recompute="full")
