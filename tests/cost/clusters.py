"""A cluster of A100s spelled out, so that tests of formulas do not move when the catalogue is refitted."""

from trainwright.hardware.cluster import Cluster, NodeGroup
from trainwright.hardware.device import Device, Efficiency, MatmulCurve, Saturation
from trainwright.hardware.link import Link

A100 = Device(
    name="A100",
    vendor="NVIDIA",
    architecture="ampere",
    kind="gpu",
    memory_bytes=80 * 2**30,
    memory_bytes_per_s=1.94e12,
    flop_per_s={"fp32": 19.5e12, "tf32": 156e12, "bf16": 312e12, "fp16": 312e12},
    efficiency=Efficiency(
        matmul={"bf16": MatmulCurve(best=0.85, half_k=128, tiles="tensor", n_units=108)},
        attention_forward=Saturation(best=0.6, half=5e8),
        attention_backward=Saturation(best=0.5, half=1e9),
        stream=Saturation(best=0.9, half=2e6),
    ),
    launch_s=4e-6,
    source="example",
)
NVLINK = Link(name="NVLink 3", bytes_per_s=300e9, latency_s=3e-6, efficiency=0.78, source="example")
INFINIBAND = Link(name="HDR", bytes_per_s=25e9, latency_s=8e-6, efficiency=0.85, source="example")


def a100_cluster(n_nodes: int, devices_per_node: int = 8) -> Cluster:
    group = NodeGroup(device=A100, n_nodes=n_nodes, devices_per_node=devices_per_node, intra=NVLINK, inter=INFINIBAND)
    return Cluster(name=f"{n_nodes} x {devices_per_node}xA100", groups=(group,))
