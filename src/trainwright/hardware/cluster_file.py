"""A cluster as a TOML file: exact where text would assume, with its own devices, links and prices.

name = "our rack"

[[group]]
device = "H100-SXM"                      # a catalogue name, or the name of a [[device]] below
n_nodes = 16
devices_per_node = 8
network = "400 Gbit/s per device"        # per device or per node; or the name of a link
intra = "NVLink-4"                       # optional: the device's own link otherwise
host_memory = "2 TiB"                    # optional, per node
price_per_device_hour = "$2.49"          # optional

[[device]]                               # optional: the keys of data/devices.toml
[[link]]                                 # optional: the keys of data/links.toml
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.hardware import catalogue, stored
from trainwright.hardware.catalogue import CatalogueEntry
from trainwright.hardware.cluster import NodeGroup
from trainwright.hardware.device import DTYPES
from trainwright.hardware.link import Link
from trainwright.hardware.parse import default_intra, network_link
from trainwright.units import parse_bytes, parse_dollars

_TOP = ("name", "group", "device", "link")
_GROUP = ("device", "n_nodes", "devices_per_node", "network", "intra", "host_memory", "price_per_device_hour")
_DEVICE = ("name", "vendor", "architecture", "kind", "memory_gib", "bandwidth_gb_per_s", "tflops", "source")
_DEVICE_MORE = (
    "aliases", "year", "form_factor", "units", "cores", "clock_ghz", "memory_type", "cache_mb", "power_w", "link",
    "host_link", "network", "per_node", "vector_tflops", "date", "notes",
)  # fmt: skip
_LINK = ("name", "bandwidth_gb_per_s", "latency_us", "source")
_LINK_MORE = ("efficiency", "half_mb", "start_us", "in_network_reduction", "date", "notes")
_WORDS = ("name", "vendor", "architecture", "kind", "form_factor", "memory_type", "link", "host_link", "network")
_KINDS = ("gpu", "tpu", "npu")


def read_groups(path: Path) -> tuple[str, list[NodeGroup], list[str]]:
    """The cluster's name, its groups, and what was assumed (nothing: a file is exact)."""
    raw = catalogue.load_toml(path)
    _known_keys(str(path), raw, _TOP)
    if not raw.get("group"):
        raise InvalidInputError(f"{path} has no [[group]]", hint='add one with device = "H100-SXM" and n_nodes = 1')
    for key in ("group", "device", "link"):
        if not isinstance(raw.get(key, []), list):
            raise InvalidInputError(f"{path}: [{key}] is one table", hint=f"write [[{key}]], there may be several")
    own_links = {link.name: link for link in (_own_link(path, table) for table in raw.get("link", ()))}
    own_devices = {one.device.name: one for one in (_own_device(path, table) for table in raw.get("device", ()))}
    groups = [_group(path, table, own_devices, own_links) for table in raw["group"]]
    return raw.get("name", path.stem), groups, []


def _known_keys(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in table:
        if key not in known:
            raise unknown_name(f"key in {where}", key, known)


def _needs(where: str, table: Mapping[str, Any], keys: Iterable[str]) -> None:
    missing = [key for key in keys if key not in table]
    if missing:
        raise InvalidInputError(f"{where} lacks {', '.join(missing)}", hint="see docs/hardware.md for every key")


def _numbers(where: str, table: Mapping[str, Any]) -> None:
    """Every figure is a number above 0, those in its sub-tables too."""
    for key, value in table.items():
        if isinstance(value, dict):
            _numbers(f"{where}: {key}", value)
        elif key not in (*_WORDS, "aliases", "source", "date", "notes", "in_network_reduction") and (
            isinstance(value, bool) or not isinstance(value, int | float) or value <= 0
        ):
            raise InvalidInputError(f"{where}: {key} is {value!r}", hint="write a number above 0, without a unit")


def _own_link(path: Path, table: Mapping[str, Any]) -> Link:
    where = f"{path}: link {table.get('name', '?')!r}"
    _needs(where, table, _LINK)
    _known_keys(where, table, (*_LINK, *_LINK_MORE))
    _numbers(where, table)
    return catalogue.build_link({"date": "not dated", **table})


def _own_device(path: Path, table: Mapping[str, Any]) -> CatalogueEntry:
    where = f"{path}: device {table.get('name', '?')!r}"
    _needs(where, table, _DEVICE)
    _known_keys(where, table, (*_DEVICE, *_DEVICE_MORE))
    _numbers(where, table)
    if not isinstance(table["tflops"], dict) or not table["tflops"]:
        raise InvalidInputError(
            f"{where}: tflops is {table['tflops']!r}", hint="write dense peaks by dtype: { bf16 = 500, fp32 = 40 }"
        )
    _known_keys(f"{where}: tflops", table["tflops"], DTYPES)
    if table["kind"] not in _KINDS:
        raise InvalidInputError(
            f"{where}: kind is {table['kind']!r}",
            hint=f"write one of {', '.join(_KINDS)}; a CPU is measured instead: `trainwright probe`",
        )
    source = table["source"]
    raw = {"per_node": 8, "network": "Ethernet-100", "date": "not dated", **table}
    raw["source"] = [source] if isinstance(source, str) else source
    return catalogue.build_entry(raw)


def _group(
    path: Path, table: Mapping[str, Any], devices: Mapping[str, CatalogueEntry], links: Mapping[str, Link]
) -> NodeGroup:
    where = f"{path}: group {table.get('device', '?')!r}"
    _needs(where, table, ("device", "n_nodes", "devices_per_node"))
    _known_keys(where, table, _GROUP)
    for key in ("n_nodes", "devices_per_node"):
        if not isinstance(table[key], int) or table[key] < 1:
            raise InvalidInputError(f"{where}: {key} is {table[key]!r}", hint="write a whole number from 1")
    entry = devices.get(table["device"]) or stored.entry(table["device"])
    per_node = table["devices_per_node"]
    intra, inter = default_intra(entry), catalogue.link(entry.network)
    if "intra" in table:
        intra = links.get(table["intra"]) or network_link(table["intra"], per_node, intra, None)
    if "network" in table:
        inter = links.get(table["network"]) or network_link(table["network"], per_node, inter, None)
    group = NodeGroup(
        device=entry.device, n_nodes=table["n_nodes"], devices_per_node=per_node, intra=intra, inter=inter
    )
    if "host_memory" in table:
        group = dataclasses.replace(group, host_memory_bytes=parse_bytes(table["host_memory"]))
    if "price_per_device_hour" in table:
        dollars = parse_dollars(str(table["price_per_device_hour"]))
        group = dataclasses.replace(group, dollars_per_device_hour=dollars, price_source=str(path))
    return group
