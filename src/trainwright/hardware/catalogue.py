"""The devices and links that ship with Trainwright: data/devices.toml and data/links.toml, with their sources."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.hardware.device import Device
from trainwright.hardware.efficiency import efficiency_of
from trainwright.hardware.link import Link
from trainwright.hardware.names import words
from trainwright.units import format_bytes, format_rate

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A device and what the catalogue knows beyond it.

    ``per_node`` devices make the usual node (for TPUs and NVL72 racks: one interconnect domain), and
    ``network`` names the link between such nodes as one device has it. ``published`` are names that
    published tables use for it. ``date`` is when the numbers were collected.
    """

    device: Device
    aliases: tuple[str, ...]
    published: tuple[str, ...]
    memory_type: str | None
    per_node: int
    network: str
    date: str


def load_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary, or an error that names the file and the line."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InvalidInputError(f"no file {str(path)!r}", hint="give the path of a TOML file that exists") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"{path} is not TOML: {error}", hint="see docs/hardware.md for the format") from None


def _rates(table: Mapping[str, float]) -> dict[str, float]:
    return {dtype: tera * 1e12 for dtype, tera in table.items()}


def scaled(raw: Mapping[str, Any], key: str, factor: float) -> float | None:
    """The number under ``key`` in base units, or None where the source does not say."""
    return None if key not in raw else float(raw[key]) * factor


def build_device(raw: Mapping[str, Any]) -> Device:
    """A Device from one [[device]] table of devices.toml."""
    rates = _rates(raw["tflops"])
    efficiency, launch_s = efficiency_of(raw["name"], raw["architecture"], raw["kind"], tuple(rates))
    return Device(
        name=raw["name"],
        vendor=raw["vendor"],
        architecture=raw["architecture"],
        kind=raw["kind"],
        memory_bytes=raw["memory_gib"] * 2.0**30,
        memory_bytes_per_s=raw["bandwidth_gb_per_s"] * 1e9,
        flop_per_s=rates,
        vector_flop_per_s=_rates(raw.get("vector_tflops", {})),
        efficiency=efficiency,
        launch_s=launch_s,
        source="; ".join(raw["source"]),
        year=raw.get("year"),
        form_factor=raw.get("form_factor"),
        n_units=raw.get("units"),
        n_cores=raw.get("cores"),
        boost_clock_hz=scaled(raw, "clock_ghz", 1e9),
        cache_bytes=scaled(raw, "cache_mb", 1e6),
        power_w=raw.get("power_w"),
        link=raw.get("link"),
        host_link=raw.get("host_link"),
        notes=raw.get("notes", ""),
    )


def build_entry(raw: Mapping[str, Any]) -> CatalogueEntry:
    """A CatalogueEntry from one [[device]] table of devices.toml."""
    return CatalogueEntry(
        device=build_device(raw),
        aliases=tuple(raw.get("aliases", ())),
        published=tuple(raw.get("published", ())),
        memory_type=raw.get("memory_type"),
        per_node=raw["per_node"],
        network=raw["network"],
        date=raw["date"],
    )


@functools.cache
def entries() -> tuple[CatalogueEntry, ...]:
    """Every device of the catalogue, in the order of the file: by maker and age."""
    return tuple(build_entry(raw) for raw in load_toml(DATA / "devices.toml")["device"])


def devices() -> tuple[Device, ...]:
    """Every device of the catalogue."""
    return tuple(entry.device for entry in entries())


@functools.cache
def _index() -> dict[frozenset[str], CatalogueEntry]:
    """Entries by the words of their names and aliases, each with and without the memory size."""
    index: dict[frozenset[str], CatalogueEntry] = {}
    for entry in entries():
        size = f"{entry.device.memory_bytes / 2**30:.0f}gb"
        for name in (entry.device.name, *entry.aliases):
            index[words(name)] = entry
            index.setdefault(words(name) | {size}, entry)
    return index


def variants(name: str) -> tuple[Device, ...]:
    """The devices whose name says everything ``name`` does and more: "H100" is SXM, PCIe, NVL, ..."""
    wanted = words(name)
    found = {entry.device.name: entry.device for key, entry in _index().items() if wanted and wanted < key}
    return tuple(found.values())


def find(name: str) -> CatalogueEntry | None:
    """The entry of that name or alias, or None."""
    return _index().get(words(name))


def entry(name: str) -> CatalogueEntry:
    """The entry of that name or alias; a name that fits several is refused with what differs among them."""
    known = find(name)
    if known is not None:
        return known
    several = variants(name)
    if several:
        raise InvalidInputError(
            f"{name!r} is not one device: the catalogue has {len(several)} that fit",
            hint="write one of\n" + "\n".join(differences(several)),
        )
    raise unknown_name("device", name, [e.device.name for e in entries()])


def device(name: str) -> Device:
    """The device of that name or alias.

    >>> device("NVIDIA A100-SXM4-80GB").name
    'A100-SXM-80GB'
    """
    return entry(name).device


def differences(several: Iterable[Device]) -> list[str]:
    """One line a device, with only those figures that are not the same for all."""
    several = list(several)
    columns = [
        [d.name for d in several],
        [format_bytes(d.memory_bytes) for d in several],
        [format_rate(d.memory_bytes_per_s, "B/s") for d in several],
        [_peak_text(d) for d in several],
        [f"{d.power_w:.0f} W" if d.power_w else "power not known" for d in several],
        [d.link or "no link" for d in several],
    ]
    telling = [column for column in columns if len(set(column)) > 1 or column is columns[0]]
    return ["  " + ", ".join(cells) for cells in zip(*telling, strict=True)]


def _peak_text(one: Device) -> str:
    dtype = next((t for t in ("bf16", "fp16", "fp32") if t in one.flop_per_s), None)
    return f"{format_rate(one.flop_per_s[dtype], 'FLOP/s')} {dtype}" if dtype else "no peak known"


def build_link(raw: Mapping[str, Any]) -> Link:
    """A Link from one [[link]] table of links.toml."""
    return Link(
        name=raw["name"],
        bytes_per_s=raw["bandwidth_gb_per_s"] * 1e9,
        latency_s=raw["latency_us"] * 1e-6,
        efficiency=raw.get("efficiency", 0.8),
        half_bytes=raw.get("half_mb", 1.0) * 1e6,
        start_s=raw.get("start_us", 0.0) * 1e-6,
        in_network_reduction=raw.get("in_network_reduction", False),
        source=f"{raw['source']} ({raw['date']})",
        notes=raw.get("notes", ""),
    )


def _link_key(name: str) -> str:
    return name.casefold().replace("-", "").replace(" ", "").replace("_", "")


@functools.cache
def _links() -> dict[str, Link]:
    index: dict[str, Link] = {}
    for raw in load_toml(DATA / "links.toml")["link"]:
        made = build_link(raw)
        index.update({_link_key(name): made for name in (made.name, *raw.get("aliases", ()))})
    return index


def links() -> tuple[Link, ...]:
    """Every link of the catalogue."""
    return tuple({made.name: made for made in _links().values()}.values())


def find_link(name: str) -> Link | None:
    """The link of that name or alias, or None."""
    return _links().get(_link_key(name))


def link(name: str) -> Link:
    """The link of that name.

    >>> link("NVLink-4").bytes_per_s
    450000000000.0
    """
    made = find_link(name)
    if made is None:
        raise unknown_name("link", name, [known.name for known in links()])
    return made
