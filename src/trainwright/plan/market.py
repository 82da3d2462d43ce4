"""What could be rented: clusters of the catalogue's devices that somebody quotes a price for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from trainwright.hardware.catalogue import devices
from trainwright.hardware.cluster import Cluster
from trainwright.hardware.parse import parse_cluster
from trainwright.hardware.prices import Price

USUAL_DEVICES = 64
"""Devices of one kind looked at where nobody says how many at most."""

ANY = "any"


def read_clusters(
    texts: Iterable[str], max_devices: int | None, own_prices: Iterable[Price] = ()
) -> tuple[Cluster, ...]:
    """The clusters that texts name; ``any`` stands for all that the market offers.

    >>> [cluster.n_devices for cluster in read_clusters(["2 x 8xH100-SXM", "RTX-4090"], None)]
    [16, 1]
    """
    own = tuple(own_prices)
    found: list[Cluster] = []
    for text in texts:
        found += offers(max_devices, own) if text.strip().casefold() == ANY else [parse_cluster(text, own)]
    return tuple(found)


def offers(max_devices: int | None, own_prices: Iterable[Price] = ()) -> list[Cluster]:
    """Nodes of eight of every GPU or TPU with a price, up to so many devices.

    The search tries every even share of them; a cluster's ports and NVLink are the catalogue's for that device.
    """
    most = max_devices or USUAL_DEVICES
    own, found = tuple(own_prices), []
    for device in devices():
        if device.kind == "cpu" or not ({"bf16", "fp16"} & set(device.flop_per_s)) or device.memory_bytes < 16e9:
            continue
        text = f"{max(1, most // 8)} x {min(8, most)}x{device.name}"
        cluster = parse_cluster(text, own)
        if all(group.dollars_per_device_hour is not None for group in cluster.groups):
            found.append(replace(cluster, name=device.name))
    return found
