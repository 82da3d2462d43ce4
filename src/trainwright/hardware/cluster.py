"""Groups of nodes of devices, with the links between them."""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.hardware.device import Device
from trainwright.hardware.link import Link


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroup:
    """Identical nodes: ``n_nodes`` of ``devices_per_node`` devices, joined inside by ``intra``.

    ``inter`` is what one device gets of the network between nodes, not what the node has: a node with
    one 400 Gbit/s port for 8 devices gives each 6.25 GB/s. ``dollars_per_device_hour`` is None where
    nobody named a price.
    """

    device: Device
    n_nodes: int
    devices_per_node: int
    intra: Link
    inter: Link
    host_memory_bytes: float | None = None
    dollars_per_device_hour: float | None = None
    price_source: str | None = None

    @property
    def n_devices(self) -> int:
        """Devices in the group."""
        return self.n_nodes * self.devices_per_node


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One or more groups; more than one makes it heterogeneous, joined by ``between``.

    ``notes`` say what was understood and what was assumed when the text left something open.
    """

    name: str
    groups: tuple[NodeGroup, ...]
    between: Link | None = None
    notes: tuple[str, ...] = ()

    @property
    def n_devices(self) -> int:
        """Devices in the cluster."""
        return sum(group.n_devices for group in self.groups)

    @property
    def is_heterogeneous(self) -> bool:
        """Whether devices or nodes differ."""
        return len(self.groups) > 1
