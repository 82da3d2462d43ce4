"""A published row as a question to the cost model and the answer that was measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from trainwright.cost.kind import Kind, kind_of
from trainwright.cost.published.architecture import model_of
from trainwright.cost.published.footprint import Footprint, fits, footprint, is_quantized
from trainwright.cost.published.gaps import USUAL_TOKENS, row_batch, usual_batch
from trainwright.cost.published.machine import cluster_of, device_of
from trainwright.cost.published.row import Row
from trainwright.cost.published.software import is_lora, recompute, stack_name, stack_of
from trainwright.cost.published.split import strategy_of
from trainwright.cost.stack import Stack
from trainwright.hardware.cluster import Cluster
from trainwright.hardware.device import Device
from trainwright.jobs.job import Objective, Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.figures import figures
from trainwright.models.spec import ModelSpec

Refusal = Literal["nothing measured", "no model", "no device", "unknown device", "an estimate, not a measurement"]
"""What a row may lack; every other gap is filled with what is usual."""

UNPADDED_SHARE = 0.5
"""MLPerf's BERT samples fill about half of 512 positions, and submitters compute no padding (SOURCES: MLPerf logs)."""

ALPACA_TOKENS = 128
"""Tokens of a sample of Alpaca's instructions with their template, on the average (LLaMA's tokenizer)."""

WHOLE_RUN = 512
"""Devices of a pretraining run of which only the device hours are told."""

USUAL_SEQ = {"bert": 512, "vit": 196, "t5": 512, "diffusion-transformer": 512}
"""Tokens where a row names none (ESM-2's among BERT's). FLUX.1 in MLPerf: 256 patches of a 256 x 256 image's latents,
256 of the text; assumed; not looked up."""

RECIPE_SEQ = 4096
"""Tokens of a sample in each of the 18 fine-tuning rows of DGX Cloud, NeMo and Megatron-Bridge that print them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement. ``step_s`` and ``peak_bytes`` are None where not given.

    ``footprint``: how to ask for its memory, by the row's own words.
    ``timed`` is what a timed step computes: less than ``workload``, where samples are shorter than the longest.
    ``adds_up``: the table's collectors found no figure of it at odds with the others.
    ``group`` is the same for rows that differ in strategy only: the same source, model, devices, batch and precision.
    """

    id: str
    source: str
    kind: Kind
    model: ModelSpec
    workload: Workload
    timed: Workload
    strategy: Strategy
    cluster: Cluster
    stack: Stack
    step_s: float | None
    peak_bytes: float | None
    group: str
    footprint: Footprint
    adds_up: bool = True

    @property
    def device(self) -> Device:
        """The device it ran on."""
        return self.cluster.groups[0].device


def case_of(row: Row) -> Case | Refusal:
    """What to ask for this row, or what it lacks."""
    if row["source"].startswith("Korthikanti 2022 Figure"):
        row = Row(text={**row.text, "vocab": "1"})  # bars of a formula that leaves out the embedding and the loss
        if not row["peak_mem_gib"]:
            return "an estimate, not a measurement"
    if row.says("LLaMA-Factory hardware requirement"):
        return "an estimate, not a measurement"
    device, model = device_of(row), model_of(row)
    if device is None:
        return "unknown device" if row["gpu"] else "no device"
    if model is None:
        return "no model"
    n_devices = row.count("gpus", 0) or (WHOLE_RUN if row.says("gpu-hours") else row.count("gpus_per_node", 8))
    cluster = cluster_of(row, device, n_devices)
    seq = sequence(row, model)
    strategy = strategy_of(row, model, cluster, seq)
    batch = global_batch(row, strategy, seq, n_devices)
    measured = step_s(row, model, batch * mean_tokens(row, seq), n_devices, device)
    peak = row.number("peak_mem_gib")
    if measured is None and peak is None and fits(row) is not False:
        return "nothing measured"
    objective: Objective = "lora" if is_lora(row) else "pretrain"
    workload = Workload(
        global_batch=batch, seq=seq, objective=objective, quantized_base=is_lora(row) and is_quantized(row)
    )
    return Case(
        id=row["id"],
        source=row["source"],
        kind=kind_of(model, workload),
        model=model,
        workload=workload,
        timed=replace(workload, seq=mean_tokens(row, seq)),
        strategy=strategy,
        cluster=cluster,
        stack=stack_of(row),
        step_s=measured,
        peak_bytes=None if peak is None else peak * (1e9 if stack_name(row) == "litgpt" else GIB),
        adds_up="DOES NOT ADD UP" not in row["other_notes"],
        group="|".join((*(row[name] for name in ALIKE), str(batch), str(seq), row["precision"])),
        footprint=footprint(row, model, workload, strategy, float(device.memory_bytes)),
    )


GIB = 2.0**30
"""Bytes in a table's unit of memory; LitGPT's scripts divide by 1e9 (litgpt 0.4.13, finetune/lora.py, Memory used)."""

ALIKE = ("source", "model_name", "gpu", "gpus")
"""What rows share, beside batch, sequence and precision, that differ in strategy only."""


def workload_of(row: Row, batch: int, seq: int) -> Workload:
    """The batch, and what of the model is trained."""
    adapters = is_lora(row)
    objective: Objective = "lora" if adapters else "pretrain"
    small = adapters and is_quantized(row)
    return Workload(global_batch=batch, seq=seq, objective=objective, quantized_base=small)


def sequence(row: Row, model: ModelSpec) -> int:
    """Tokens of a sample that are computed; 1 for images."""
    if model.unit != "tokens":
        return 1
    if row.says("glue, 128"):
        return 128
    usual = RECIPE_SEQ if is_lora(row) and stack_name(row) == "nemo" else USUAL_TOKENS
    stated = row.count("seq_len", USUAL_SEQ.get(row["arch"].split(" ")[0], usual))
    if row["arch"] == "bert" and row["source"].startswith("MLPerf"):
        return round(stated * UNPADDED_SHARE)
    return stated


def mean_tokens(row: Row, seq: int) -> int:
    """Tokens of a sample as a step sees it on the average: instructions that are not packed fall short of the most."""
    if row.says("longest alpaca sample", "unpacked alpaca", "unpacked data: real tokens"):
        return min(ALPACA_TOKENS, seq)
    return seq


def global_batch(row: Row, strategy: Strategy, seq: int, n_devices: int) -> int:
    """Samples a step: as stated, as time and rate together tell, else what is usual."""
    if row.says("'iteration' = one microbatch"):
        return int(strategy.dp) * int(strategy.micro_batch)
    return row.count("global_batch", 0) or row_batch(row) or usual_batch(row, strategy, seq, n_devices)


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
    pairs = 6.0 if row.says(*HALVED) else 12.0
    attention = pairs * row.count("layers", 0) * row.count("hidden", 0) * row.count("seq_len", 0)
    parameters = figures(model, 1).active_parameters
    return tokens * (6.0 * parameters + attention) * again / (flop_per_s * n_devices)


HALVED = ("megatron-bridge", "moe-modelzoo", "together", "primus", "ironwood")
"""Sources that count causal attention once, not as if nothing were masked (SOURCES.md)."""
