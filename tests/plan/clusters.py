"""Clusters and devices by hand, so that the tests of planning stand on numbers that nobody refits."""

from __future__ import annotations

from trainwright.hardware.cluster import Cluster, NodeGroup
from trainwright.hardware.device import Device, Efficiency, MatmulCurve, Saturation
from trainwright.hardware.link import Link

CURVE = MatmulCurve(best=0.8, half_m=64.0, half_n=64.0, half_k=64.0)
EFFICIENCY = Efficiency(
    matmul={"bf16": CURVE, "fp32": CURVE},
    attention_forward=Saturation(best=0.6, half=1e9),
    attention_backward=Saturation(best=0.5, half=1e9),
    stream=Saturation(best=0.9, half=1e6),
)


def gpu(memory_bytes: float = 80e9, bf16: float = 312e12) -> Device:
    return Device(
        name="A100-like",
        vendor="test",
        architecture="ampere",
        kind="gpu",
        memory_bytes=memory_bytes,
        memory_bytes_per_s=2e12,
        flop_per_s={"bf16": bf16, "fp16": bf16, "fp32": bf16 / 16},
        efficiency=EFFICIENCY,
        source="by hand",
        launch_s=3e-6,
    )


def link(bytes_per_s: float, latency_s: float = 5e-6) -> Link:
    return Link(name="link", bytes_per_s=bytes_per_s, latency_s=latency_s, source="by hand")


def cluster(
    n_nodes: int = 2, devices_per_node: int = 8, device: Device | None = None, price: float | None = 2.0
) -> Cluster:
    group = NodeGroup(
        device=device or gpu(),
        n_nodes=n_nodes,
        devices_per_node=devices_per_node,
        intra=link(250e9),
        inter=link(25e9, 10e-6),
        dollars_per_device_hour=price,
    )
    return Cluster(name=f"{n_nodes} x {devices_per_node}", groups=(group,))
