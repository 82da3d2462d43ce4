"""Cluster text, or a TOML file, to a Cluster: "16 x 8xH100-SXM @ 400Gbit/s", "8xA100-80GB + 8xRTX-3090".

    cluster = group [ "+" group ]...
    group   = [ NODES "x" ] DEVICES "x" NAME [ "@" NETWORK ]
    NETWORK = a bandwidth, "per device" or "per node"; or the name of a link

A bandwidth is in one direction. One that says neither "per device" nor "per node" is per device, as such
clusters are sold (one 400 Gbit/s port for each GPU), and the cluster's notes say so.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from trainwright.errors import InvalidInputError
from trainwright.hardware import catalogue, stored
from trainwright.hardware.catalogue import CatalogueEntry
from trainwright.hardware.cluster import Cluster, NodeGroup
from trainwright.hardware.link import Link
from trainwright.hardware.machine import MachineProfile
from trainwright.hardware.prices import Price, price
from trainwright.units import format_rate, parse_bandwidth

EXAMPLES = "'16 x 8xH100-SXM @ 400Gbit/s per device', '4xRTX-4090' or 'cluster.toml'"
MOST_DEVICES = 10_000_000
_TIMES = r"\s*[x*\u00d7]\s*"
_GROUP = re.compile(
    rf"^(?:(?:(?P<nodes>\d+){_TIMES})?(?P<count>\d+){_TIMES})?"
    r"(?P<name>[^@]*[A-Za-z][^@]*?)\s*(?:@\s*(?P<network>.*))?$"
)
_PER = re.compile(r"^(?P<bandwidth>.*?)(?:\s+per\s+(?P<what>device|gpu|chip|node))?$", re.IGNORECASE)


def parse_cluster(text_or_path: str | Path, own_prices: Iterable[Price] = ()) -> Cluster:
    """The cluster that the text or the TOML file describes, with the price of each device where somebody quotes one.

    ``own_prices`` (see hardware/prices.py) go before the catalogue's; a price in the file goes before both.

    >>> cluster = parse_cluster("16 x 8xH100-SXM @ 400Gbit/s")
    >>> cluster.n_devices, cluster.groups[0].inter.bytes_per_s
    (128, 50000000000.0)
    >>> print(cluster.notes[0])
    @ 400Gbit/s: read as 50.0 GB/s per device and direction; write 'per node' if all 8 devices of a node share it
    """
    text = str(text_or_path).strip()
    if isinstance(text_or_path, Path) or text.endswith(".toml"):
        from trainwright.hardware.cluster_file import read_groups  # it needs this module's link text

        name, groups, notes = read_groups(Path(text))
    else:
        parsed = [_group(part.strip()) for part in text.split("+")]
        name, groups = text, [group for group, _ in parsed]
        notes = [note for _, some in parsed for note in some]
    return _join(name, [_priced(group, tuple(own_prices)) for group in groups], notes)


def _join(name: str, groups: list[NodeGroup], notes: list[str]) -> Cluster:
    """Groups as one cluster; the slowest network among them joins them."""
    n_devices = sum(group.n_devices for group in groups)
    if n_devices > MOST_DEVICES:
        raise InvalidInputError(
            f"{name!r} has {n_devices:,} devices, more than anybody owns", hint=f"write at most {MOST_DEVICES:,}"
        )
    between = None
    if len(groups) > 1:
        between = min((group.inter for group in groups), key=lambda link: link.bytes_per_s)
        notes = [*notes, f"the groups are joined by the slowest of their networks, {describe_link(between)}"]
    return Cluster(name=name, groups=tuple(groups), between=between, notes=tuple(notes))


def _priced(group: NodeGroup, own: tuple[Price, ...]) -> NodeGroup:
    """The group with the user's price, or the catalogue's, unless it has one."""
    found = price(group.device.name, own=own)
    if group.dollars_per_device_hour is not None or found is None:
        return group
    return dataclasses.replace(
        group, dollars_per_device_hour=found.dollars_per_device_hour, price_source=found.describe()
    )


def _group(text: str) -> tuple[NodeGroup, list[str]]:
    match = _GROUP.match(text)
    if match is None:
        raise InvalidInputError(f"{text!r} is not a group of devices", hint=f"write it like {EXAMPLES}")
    profile = None if catalogue.find(match["name"]) else stored.stored_machine(match["name"])
    if profile is not None:
        return _machine_group(profile, match)
    entry = stored.entry(match["name"])
    notes = []
    if match["name"].strip().casefold() != entry.device.name.casefold():
        notes.append(f"{match['name'].strip()}: read as {entry.device.name}")
    if match["nodes"] is None:
        n_nodes, per_node = split_nodes(int(match["count"] or 1), entry, notes)
    else:
        n_nodes, per_node = int(match["nodes"]), int(match["count"])
    if n_nodes < 1 or per_node < 1:
        raise InvalidInputError(f"{text!r} has no devices", hint=f"write it like {EXAMPLES}")
    intra = default_intra(entry)
    inter = catalogue.link(entry.network)
    if match["network"] is not None:
        inter = network_link(match["network"], per_node, inter, notes)
    elif n_nodes > 1:
        notes.append(f"no network given: {describe_link(inter)} is usual for {entry.device.name}")
    return NodeGroup(device=entry.device, n_nodes=n_nodes, devices_per_node=per_node, intra=intra, inter=inter), notes


def _machine_group(profile: MachineProfile, match: re.Match[str]) -> tuple[NodeGroup, list[str]]:
    """A measured machine, cut into as many processes as it was measured with, or several of them."""
    n_nodes = int(match["nodes"]) if match["nodes"] else None
    group, n_nodes = stored.nodes_of(profile, n_nodes, int(match["count"] or 1))
    inter, notes = catalogue.link(stored.NETWORK), [f"{profile.name}: measured {profile.measured_at[:10]}"]
    if match["network"] is not None:
        inter = network_link(match["network"], group.devices_per_node, inter, notes)
    elif n_nodes > 1:
        notes.append(f"no network given: {describe_link(inter)} is taken between the machines")
    else:
        inter = group.inter
    return dataclasses.replace(group, n_nodes=n_nodes, inter=inter), notes


def split_nodes(count: int, entry: CatalogueEntry, notes: list[str]) -> tuple[int, int]:
    """A bare count as (nodes, devices per node): as few nodes of the usual size as hold it."""
    n_nodes = -(-count // entry.per_node)
    if n_nodes <= 1:
        return 1, count
    if count % n_nodes:
        whole = entry.per_node * (count // entry.per_node)
        raise InvalidInputError(
            f"{count} x {entry.device.name} do not fill equal nodes of at most {entry.per_node}",
            hint=f"write {whole}x{entry.device.name}, or the nodes: 'NODES x DEVICESx{entry.device.name}'",
        )
    per_node = count // n_nodes
    notes.append(f"{count} x {entry.device.name}: read as {n_nodes} nodes of {per_node}")
    return n_nodes, per_node


def default_intra(entry: CatalogueEntry) -> Link:
    """What joins the devices of one node when nobody says: the device's own link, or its host's."""
    return catalogue.link(entry.device.link or entry.device.host_link or entry.network)


def network_link(text: str, per_node: int, usual: Link, notes: list[str] | None) -> Link:
    """A link from a name, or from a bandwidth per device or per node; latency and efficiency as ``usual``.

    With ``notes`` None (a file, which has room to be exact), a bandwidth must say which of the two it is.
    """
    named = catalogue.find_link(text)
    if named is not None:
        return named
    match = _PER.match(text.strip())
    assert match is not None  # every part of the pattern is optional
    if not match["bandwidth"][:1].isdigit():
        catalogue.link(match["bandwidth"])  # a word that is no link: says so, with the nearest names
    bytes_per_s, what = parse_bandwidth(match["bandwidth"]), match["what"]
    if bytes_per_s <= 0:
        raise InvalidInputError(
            f"{text!r}: a link needs a bandwidth above 0", hint="write it like '400 Gbit/s per device'"
        )
    if what is None:
        if notes is None:
            raise InvalidInputError(
                f"{text!r} says neither per device nor per node",
                hint=f"write '{text.strip()} per device' or '{text.strip()} per node'",
            )
        notes.append(
            f"@ {text.strip()}: read as {format_rate(bytes_per_s, 'B/s')} per device and direction; "
            f"write 'per node' if all {per_node} devices of a node share it"
        )
    if what is not None and what.casefold() == "node":
        bytes_per_s /= per_node
    return dataclasses.replace(
        usual,
        name=text.strip(),
        bytes_per_s=bytes_per_s,
        source=f"given as {text.strip()!r}; latency and efficiency as {usual.name}",
        notes="",
    )


def describe_link(link: Link) -> str:
    """The link's name and what one device gets of it."""
    return f"{link.name} ({format_rate(link.bytes_per_s, 'B/s')} per device and direction)"
