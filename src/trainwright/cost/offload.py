"""Seconds a step loses to states or parameters that live in the host's memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainwright.cost.stack import Stack
from trainwright.cost.table import Array, Table
from trainwright.hardware.catalogue import find_link
from trainwright.hardware.cluster import NodeGroup

HOST_LINK_BYTES_PER_S = 25e9
"""Where the catalogue names no host link: PCIe 4.0 x16 as a copy from pinned memory reaches it."""

HOST_UPDATES_PER_S = 3.9e9
"""Parameters that a node's CPUs update in a second: 10 billion in 2.57 s on two Xeon 8168 (DeepSpeed's CPU-Adam).

Source: Ren et al., "ZeRO-Offload", USENIX ATC 2021 (arXiv:2101.06840), table 4.
"""


def offload_s(parameters: Any, table: Table, group: NodeGroup, stack: Stack) -> Array:
    """Seconds a step waits for its host, given trained ``parameters`` per device before sharding, per stage.

    Optimizer states: gradients go down, the CPUs update, parameters come up: params (gradient + 2) / link +
    params / (host rate / devices of the node). Parameters: each micro-batch fetches them for forward and for backward.
    Ignores what a copy can hide behind compute (ZeRO-Offload's delayed update) and the host's memory size.
    """
    if table.strategy.offload == "none":
        return np.zeros(table.n)
    holders = table.dp * table.cp
    shard = np.minimum(table.shard * table.cp, holders) if table.strategy.zero_stage > 0 else 1.0
    link = find_link(group.device.host_link) if group.device.host_link else None
    rate = HOST_LINK_BYTES_PER_S if link is None else link.bytes_per_s * link.efficiency
    held = parameters / shard
    low = 2.0 if table.strategy.precision not in ("fp32", "tf32") else 4.0
    copied = held * (stack.gradient_bytes + low) / rate
    updated = held * np.minimum(group.devices_per_node, table.n_devices) / HOST_UPDATES_PER_S
    fetched = 0.0
    if table.strategy.offload == "parameters":
        fetched = 2.0 * table.n_micro * held * low / rate
    waits: Array = np.max(copied + updated + fetched, axis=0)
    return waits
