"""A measured machine beside what was promised of it: its datasheet, or what its processor could start in a cycle.

What is far below the promise is odd, and each oddity names what usually causes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trainwright.hardware import catalogue
from trainwright.hardware.catalogue import CatalogueEntry
from trainwright.hardware.device import Device
from trainwright.hardware.machine import MachineProfile
from trainwright.units import format_rate

PINNED, PINNED_BYTES = "pinned to device", 2.0**26
"""The lesson that times the PCIe port, and the bytes it moves (probe/exercises.py)."""

LOW = {"matmul": 0.6, "memory": 0.6, "port": 0.5}
"""Shares of the promise below which a measurement is odd: products reach 0.6 to 0.9 of a datasheet's peak
(hardware/data/efficiency.toml), streams 0.7 to 0.95, ports 0.7 to 0.9."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """One figure: measured, and promised (None: nobody promises it), in FLOP/s, B/s, B or W as ``unit`` says."""

    name: str
    unit: str
    measured: float
    promised: float | None

    @property
    def share(self) -> float | None:
        """Measured over promised."""
        return self.measured / self.promised if self.promised else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A machine beside its promise: by whom, figure by figure, and what is odd, in sentences."""

    machine: MachineProfile
    promised_by: str
    figures: tuple[Promised, ...]
    odd: tuple[str, ...]


def compare_machine(profile: MachineProfile) -> Comparison:
    """The stored machine beside the datasheet of its device; a CPU beside what its own clock and vectors promise."""
    device = min(profile.divisions, key=lambda cluster: cluster.n_devices).groups[0].device
    entry = nearest_entry(device)
    if device.kind == "cpu" or entry is None:
        figures = tuple(_of_cpu(profile, device))
        by = (
            "its clock, vector units and memory" if profile.facts.get("flop_per_cycle_fp32") else "nobody: no datasheet"
        )
    else:
        figures = tuple(_of_datasheet(profile, device, entry.device))
        by = f"the datasheet of {entry.device.name} ({entry.date})"
    odd = (*_low(figures), *_said(profile), *_scaling(profile))
    return Comparison(machine=profile, promised_by=by, figures=figures, odd=odd)


def nearest_entry(device: Device) -> CatalogueEntry | None:
    """The catalogue's entry for a device as its driver names it; of several, that with the nearest memory."""
    exact = catalogue.find(device.name)
    several = [catalogue.entry(one.name) for one in catalogue.variants(device.name)]
    return exact or min(several, key=lambda e: abs(e.device.memory_bytes - device.memory_bytes), default=None)


def _of_cpu(profile: MachineProfile, device: Device) -> Iterator[Promised]:
    facts = profile.facts
    clock = facts.get("clock_max_mhz", facts.get("clock_mhz", 0.0)) * 1e6
    for dtype, rate in device.flop_per_s.items():
        promised = profile.n_cores * clock * facts.get(f"flop_per_cycle_{dtype}", 0.0)
        yield Promised(name=f"matmul {dtype}", unit="FLOP/s", measured=rate, promised=promised or None)
    yield Promised(name="memory stream", unit="B/s", measured=_stream(device), promised=None)
    yield Promised(name="memory", unit="B", measured=profile.memory_bytes, promised=None)
    if "power_w" in facts:
        yield Promised(name="power while measuring", unit="W", measured=facts["power_w"], promised=None)


def _of_datasheet(profile: MachineProfile, device: Device, sheet: Device) -> Iterator[Promised]:
    for dtype, rate in device.flop_per_s.items():
        yield Promised(name=f"matmul {dtype}", unit="FLOP/s", measured=rate, promised=sheet.flop_per_s.get(dtype))
    yield Promised(name="memory stream", unit="B/s", measured=_stream(device), promised=sheet.memory_bytes_per_s)
    yield Promised(name="memory", unit="B", measured=device.memory_bytes, promised=sheet.memory_bytes)
    pinned = next((e.seconds[PINNED] for e in profile.exercises if PINNED in e.seconds), None)
    port = catalogue.find_link(sheet.host_link) if sheet.host_link else None
    if pinned:
        promised = port.bytes_per_s if port else None
        yield Promised(name="port to the host", unit="B/s", measured=PINNED_BYTES / pinned, promised=promised)
    if "power_limit_w" in profile.facts:
        limit = profile.facts["power_limit_w"]
        yield Promised(name="power limit", unit="W", measured=limit, promised=sheet.power_w)


def _stream(device: Device) -> float:
    """Bytes per second over the largest working set that was measured."""
    points = device.efficiency.stream_points
    return points[-1][1] if points else device.memory_bytes_per_s


def _low(figures: tuple[Promised, ...]) -> Iterator[str]:
    why = {
        "matmul": "throttled by heat or power, a lower clock than promised, or cores that others use too",
        "memory": "memory channels left empty, or others using them",
        "port": "fewer PCIe lanes or an older generation than the slot promises (x4 gives a quarter of x16)",
    }
    for figure in figures:
        kind = figure.name.split()[0]
        if figure.unit.endswith("/s") and figure.share is not None and figure.share < LOW[kind]:
            reached = format_rate(figure.measured, figure.unit)
            yield f"{figure.name} reaches {reached}, {figure.share:.0%} of what was promised: {why[kind]}"
        if figure.name == "power limit" and figure.share is not None and figure.share < 0.95:
            yield f"the power limit is {figure.measured:.0f} W, the datasheet says {figure.promised:.0f} W"


def _said(profile: MachineProfile) -> Iterator[str]:
    """What the machine itself says is wrong."""
    facts: Mapping[str, float] = profile.facts
    if profile.is_busy:
        yield "the machine was busy with other work while it was measured: `trainwright probe --fresh` when it rests"
    elif profile.spread > 0.05:
        yield f"readings lie {profile.spread:.0%} from their median: the clock moves, or other work comes and goes"
    for name, what in (("throttled_by_heat", "heat"), ("throttled_by_power", "its power limit")):
        if facts.get(name):
            yield f"the GPU says that {what} slows it down"
    if facts.get("pcie_lanes", 16.0) < facts.get("pcie_lanes_max", 0.0):
        yield f"the GPU has {facts['pcie_lanes']:.0f} of its {facts['pcie_lanes_max']:.0f} PCIe lanes"
    if facts.get("power_limit_w", 0.0) < 0.95 * facts.get("power_default_w", 0.0):
        yield f"the power limit was lowered from {facts['power_default_w']:.0f} to {facts['power_limit_w']:.0f} W"
    if facts.get("others_percent", 0.0) > 10.0:
        yield f"another process used {facts['others_percent']:.0f} % of the GPU before measuring began"


def _scaling(profile: MachineProfile) -> Iterator[str]:
    """Cores that are threads of one core, or that share a clock budget, give less together than one by one."""
    rates = {c.n_devices: c.n_devices * c.groups[0].device.flop_per_s.get("fp32", 0.0) for c in profile.divisions}
    one, all_ = rates.get(1), rates.get(max(rates))
    if one and all_ and max(rates) > 1 and not 0.7 < all_ / one < 1.4 and "cpu" in _kinds(profile):
        yield f"{max(rates)} processes reach {all_ / one:.0%} of what one reaches with all threads"


def _kinds(profile: MachineProfile) -> set[str]:
    return {group.device.kind for cluster in profile.divisions for group in cluster.groups}
