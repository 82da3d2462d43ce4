"""One small training step that any device can be compared on."""

from __future__ import annotations

from trainwright.cost.estimate import Estimate
from trainwright.cost.stack import stack
from trainwright.cost.step import estimate_step
from trainwright.hardware.catalogue import link
from trainwright.hardware.cluster import Cluster, NodeGroup
from trainwright.hardware.device import Device
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Precision, Strategy
from trainwright.models.catalogue import model

MODEL = "gpt2-medium"
WORKLOAD = Workload(global_batch=4, seq=1024)
STACK = "torchtitan"
DESCRIPTION = f"{MODEL}, {WORKLOAD.global_batch} x {WORKLOAD.seq} tokens, AdamW, as {STACK} would run it"


def reference_precision(device: Device) -> Precision:
    """The fastest of bf16, fp16 and fp32 on this device; bf16 among equals."""
    choices: tuple[Precision, ...] = ("bf16", "fp16", "fp32")
    return max(choices, key=lambda dtype: device.flop_per_s.get(dtype, 0.0))


def reference_step(device: Device) -> Estimate:
    """One step of the reference job on one device, in the precision it would train in."""
    joined = link(device.link or device.host_link or "Ethernet-10")
    group = NodeGroup(device=device, n_nodes=1, devices_per_node=1, intra=joined, inter=joined)
    strategy = Strategy(micro_batch=WORKLOAD.global_batch, precision=reference_precision(device))
    return estimate_step(model(MODEL), WORKLOAD, strategy, Cluster(name=device.name, groups=(group,)), stack(STACK))


def reference_tokens_per_s(device: Device) -> float | None:
    """Tokens per second of the reference step; None where it does not fit in memory.

    >>> from trainwright.hardware.catalogue import device
    >>> reference_tokens_per_s(device("H100-SXM")) > reference_tokens_per_s(device("A100-SXM-80GB"))
    True
    """
    estimate = reference_step(device)
    return None if estimate.peak_bytes > device.memory_bytes else float(estimate.tokens_per_s)
