"""Seconds a step loses to states or parameters that live in the host's memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from trainwright.cost.memory import step_memory
from trainwright.cost.memory_rules import memory_rules
from trainwright.cost.stack import Stack
from trainwright.cost.table import Array, Table
from trainwright.hardware.catalogue import find_link
from trainwright.hardware.cluster import NodeGroup
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import ModelSpec
from trainwright.units import Number

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
    Ignores what a copy can hide behind compute (ZeRO-Offload's delayed update).
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


def host_bytes(model: ModelSpec, workload: Workload, strategy: Strategy, stack: Stack) -> Number:
    """Bytes of the host's memory that one device of the fullest stage takes for what is offloaded."""
    if strategy.offload == "none":
        return 0.0
    rules = memory_rules(stack.name)
    _, whole = step_memory(model, workload, replace(strategy, offload="none"), rules)
    _, left = step_memory(model, workload, strategy, rules)
    gone = [_states(one) - _states(other) for one, other in zip(whole, left, strict=True)]
    most: Number = np.max(np.stack(gone), axis=0)
    return most


def _states(stage: Mapping[str, Number]) -> Number:
    return stage["parameters"] + stage["optimizer"]


def host_room(strategy: Strategy, host_bytes: Number, groups: tuple[NodeGroup, ...]) -> Number:
    """Bytes left on the fullest host; infinite where nobody said how much memory the hosts have."""
    room: Number = np.inf
    for group in groups:
        if group.host_memory_bytes is not None:
            devices = np.minimum(group.devices_per_node, strategy.n_devices)
            room = np.minimum(room, group.host_memory_bytes - host_bytes * devices)
    return room
