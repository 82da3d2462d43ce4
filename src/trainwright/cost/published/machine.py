"""Which devices and links a published row ran on."""

from __future__ import annotations

import re
from dataclasses import replace

from trainwright.cost.published.row import Row
from trainwright.hardware import catalogue
from trainwright.hardware.cluster import Cluster, NodeGroup
from trainwright.hardware.device import Device
from trainwright.hardware.link import Link
from trainwright.hardware.published import published_device

_PER_NODE_GBIT = (
    (r"800 gb/s per node|between nodes 800|800 gb/s between", 800.0),
    (r"4 omni-path", 400.0),
    (r"omni-path.*100", 100.0),
    (r"4x ndr200", 800.0),
    (r"2x dual-port hdr100", 400.0),
    (r"1x ib edr|connectx-5 ib edr|single 100", 100.0),
    (r"4x slingshot", 800.0),
    (r"roce 1600|1600 gbps", 1600.0),
    (r"8x hdr|8x200g|8x hdr200|8x 200|hdr200 ib per vm", 1600.0),
    (r"4x200g|4x200 gb/s", 800.0),
    (
        r"3\.2 tb/s|8x ?400|8x connectx-7|400 ?g(b/s)? (ib )?per gpu|400g ib per gpu|cx-7 400gb/s per gpu|8x50 gb/s",
        3200.0,
    ),
    (r"2 tb/s", 2000.0),
    (r"25 gb/s ethernet|25gb/s ethernet", 25.0),
    (r"g5\.12xlarge", 40.0),  # assumed; not looked up
    (r"800 \(trn1\)", 800.0),
)
"""What a row's text says of the network, in Gbit/s of a whole node."""


def device_of(row: Row) -> Device | None:
    """The catalogue's device for the row's, or None."""
    text = row["gpu"]
    if text.casefold().startswith("not stated"):
        text = "A100" if "A100" in text else "V100-SXM2-16GB" if "LiBai" in row["source"] else text
    return published_device(text)


def cluster_of(row: Row, device: Device, n_devices: int) -> Cluster:
    """The nodes the row used, joined as it says, else as is usual for the device."""
    entry = catalogue.entry(device.name)
    per_node = domain(row, device, n_devices, entry.per_node)
    intra = catalogue.link(device.link or device.host_link or entry.network)
    text = row["interconnect"].casefold()
    if "pcie (no nvlink)" in text or text.startswith("pcie"):
        intra = catalogue.link(device.host_link or "PCIe-4-x16")
    group = NodeGroup(
        device=device,
        n_nodes=-(-n_devices // per_node),
        devices_per_node=per_node,
        intra=intra,
        inter=network(row, catalogue.link(entry.network), row.count("gpus_per_node", 8)),
    )
    return Cluster(name=row["gpu"], groups=(group,))


def domain(row: Row, device: Device, n_devices: int, usual: int) -> int:
    """Devices joined by the fast link: a node, an NVL72 rack, or a TPU slice."""
    if device.kind == "tpu":
        slices = re.search(r"(\d+) slice", row["interconnect"])
        return max(n_devices // (int(slices[1]) if slices else 1), 1)
    if re.search(r"NVL72|domain 72|GB[23]00", row["interconnect"] + row["gpu"]):
        return min(n_devices, 72 if n_devices % 72 == 0 else 64)
    return min(row.count("gpus_per_node", usual), n_devices)


def network(row: Row, usual: Link, per_node: int) -> Link:
    """The link between nodes as one device has it."""
    text = row["interconnect"].casefold()
    for pattern, gbit in _PER_NODE_GBIT:
        if re.search(pattern, text):
            rate = gbit * 1e9 / 8.0 / per_node
            half = usual.half_bytes * rate / usual.bytes_per_s  # what a chain of ranks waits for is seconds
            name = f"{gbit:g} Gbit/s per node"
            return replace(usual, name=name, bytes_per_s=rate, half_bytes=half, source=row["interconnect"])
    return usual
