"""A published row as a question to the cost model and the answer that was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from trainwright.cost.published.architecture import model_of
from trainwright.cost.published.machine import cluster_of, device_of
from trainwright.cost.published.row import Row
from trainwright.cost.published.software import is_lora, precision, recompute, shard_ways, stack_name, zero_stage
from trainwright.cost.stack import Stack, stack
from trainwright.hardware.cluster import Cluster
from trainwright.hardware.device import Device
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import ModelSpec

Refusal = Literal[
    "nothing measured", "no model shape", "no device", "unknown device", "no number of devices", "no batch",
    "no sequence length", "analytical, not measured",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement. ``step_s`` or ``peak_bytes`` may be None, not both.

    ``group`` is the same for rows that differ in strategy only: the same source, model, devices, batch and precision.
    """

    id: str
    source: str
    model: ModelSpec
    workload: Workload
    strategy: Strategy
    cluster: Cluster
    stack: Stack
    step_s: float | None
    peak_bytes: float | None
    group: str

    @property
    def device(self) -> Device:
        """The device it ran on."""
        return self.cluster.groups[0].device


def case_of(row: Row) -> Case | Refusal:
    """What to ask for this row, or what it lacks."""
    model = model_of(row)
    if model is None:
        return "no model shape"
    device = device_of(row)
    if device is None:
        return "unknown device" if row["gpu"] else "no device"
    n_devices = row.count("gpus", 0)
    if not n_devices:
        return "no number of devices"
    if row["source"].startswith("Korthikanti 2022 Figure"):
        return "analytical, not measured"
    seq = row.count("seq_len", 0)
    if not seq:
        return "no sequence length"
    strategy = strategy_of(row, n_devices)
    batch = global_batch(row, strategy)
    measured = step_s(row, model, batch * seq, n_devices, device)
    peak = row.number("peak_mem_gib")
    if measured is None and peak is None:
        return "nothing measured"
    return Case(
        id=row["id"],
        source=row["source"],
        model=model,
        workload=Workload(global_batch=batch, seq=seq, objective="lora" if is_lora(row) else "pretrain"),
        strategy=strategy,
        cluster=cluster_of(row, device, n_devices),
        stack=stack(stack_name(row)),
        step_s=measured,
        peak_bytes=None if peak is None else peak * 2.0**30,
        group="|".join(
            (row["source"], row["model_name"], row["gpu"], row["gpus"], str(batch), str(seq), row["precision"])
        ),
    )


def global_batch(row: Row, strategy: Strategy) -> int:
    """Samples a step: as stated, else what the replicas hold, with four micro-batches for every pipeline stage."""
    usual = 1 if int(strategy.pp) == 1 else 4 * int(strategy.pp)
    replicas = int(strategy.dp) * int(strategy.micro_batch)
    return row.count("global_batch", 0) or replicas * row.count("grad_accum", usual)


def strategy_of(row: Row, n_devices: int) -> Strategy:
    """The split, with what the row leaves out filled in as the software would."""
    tp, pp, cp = (max(row.count(axis, 1), 1) for axis in ("tp", "pp", "cp"))
    dp = max(n_devices // (tp * pp * cp), 1)
    known = stack(stack_name(row))
    stated_sp = row.flag("sp")
    vpp = row.count("vpp", 1)
    stage = zero_stage(row)
    batch = row.count("global_batch", 0)
    micro = row.count("micro_batch", 0)
    if not micro:
        accumulation = row.count("grad_accum", 1)
        micro = max(batch // (dp * accumulation), 1) if pp == 1 and batch else 1
    if batch:
        micro = max(min(micro, batch // dp), 1)
    return Strategy(
        dp=dp,
        tp=tp,
        cp=cp,
        pp=pp,
        ep=min(max(row.count("ep", 1), 1), dp * cp),
        micro_batch=micro,
        zero_stage=stage,
        shard=shard_ways(row, dp, row.count("gpus_per_node", 8)) if stage == 3 else None,
        sequence_parallel=tp > 1 and (known.sequence_parallel if stated_sp is None else stated_sp),
        schedule="interleaved" if vpp > 1 and pp > 1 else "1f1b",
        virtual_stages=max(vpp, 1) if pp > 1 else 1,
        recompute=recompute(row),
        precision=precision(row),
    )


def step_s(row: Row, model: ModelSpec, tokens: float, n_devices: int, device: Device) -> float | None:
    """Seconds of one step: as printed, from tokens/s, or from FLOP/s by the source's way of counting."""
    stated = row.number("step_time_s")
    if stated:
        return stated
    rate = row.number("tokens_per_s_per_gpu")
    if rate:
        return tokens / (rate * n_devices)
    flop_per_s = (row.number("tflops_per_gpu") or 0.0) * 1e12
    again = 1.0
    peak = device.flop_per_s.get("bf16") or device.flop_per_s.get("fp16") or 0.0
    if not flop_per_s and (share := row.number("mfu_pct")):
        flop_per_s = share / 100.0 * peak
    elif not flop_per_s and (share := row.number("hfu_pct")):
        flop_per_s, again = share / 100.0 * peak, 4.0 / 3.0 if recompute(row) == "full" else 1.0
    if not flop_per_s:
        return None
    return tokens * counted_flop_per_token(row, model) * again / (flop_per_s * n_devices)


def counted_flop_per_token(row: Row, model: ModelSpec) -> float:
    """6 N + 12 layers hidden seq, the count most sources use (SOURCES.md)."""
    attention = 12.0 * row.count("layers", 0) * row.count("hidden", 0) * row.count("seq_len", 0)
    return 6.0 * model.n_parameters + attention if math.isfinite(attention) else 0.0
