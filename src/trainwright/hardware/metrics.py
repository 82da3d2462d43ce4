"""Any device on the metrics that matter, and the filters that choose devices by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.hardware import catalogue, stored
from trainwright.hardware.device import DTYPES, Device
from trainwright.hardware.matmuls import BestMatmul, best_matmuls
from trainwright.hardware.prices import Price, Purchase, price, purchases
from trainwright.units import parse_bytes, parse_dollars

FMA = 2
"""Operations of one fused multiply-add: what one core starts each clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What one device is measured by; None where nobody says."""

    device: Device
    per_node: int
    network: str
    date: str
    formula_flop_per_s: float | None
    sixteen_bit_flop_per_s: float | None
    flop_per_joule: float | None
    link_latency_s: float | None
    features: tuple[str, ...]
    best_matmuls: tuple[BestMatmul, ...]
    price: Price | None
    purchase: Purchase | None


def metrics(name: str, own_prices: Iterable[Price] = ()) -> Metrics:
    """The metrics of a catalogue device."""
    entry = stored.entry(name)
    device = entry.device
    link = catalogue.find_link(device.link) if device.link else None
    peak = sixteen_bit(device)
    return Metrics(
        device=device,
        per_node=entry.per_node,
        network=entry.network,
        date=entry.date,
        formula_flop_per_s=formula_flop_per_s(device),
        sixteen_bit_flop_per_s=peak,
        flop_per_joule=peak / device.power_w if peak and device.power_w else None,
        link_latency_s=link.latency_s if link else None,
        features=features(device),
        best_matmuls=best_matmuls(device.name),
        price=price(device.name, own=own_prices),
        purchase=min((p for p in purchases() if p.device == device.name), key=lambda p: p.dollars, default=None),
    )


def formula_flop_per_s(device: Device) -> float | None:
    """FP32 without matrix units: cores x clock x 2, since a fused multiply-add is two operations.

    Holds within 3 % for every catalogue device that has both numbers, except where a core starts two
    operations a clock (MI300X, MI300A, RX 7900 XTX) and for Max 1550.

    >>> f"{formula_flop_per_s(catalogue.device('RTX-3090')) / 1e12:.2f}"  # 10496 x 1.695 GHz x 2
    '35.58'
    """
    if device.n_cores is None or device.boost_clock_hz is None:
        return None
    return device.n_cores * device.boost_clock_hz * FMA


def sixteen_bit(device: Device) -> float | None:
    """The dense 16-bit peak that training would use, bf16 or fp16, whichever is faster."""
    rates = [device.flop_per_s[dtype] for dtype in ("bf16", "fp16") if dtype in device.flop_per_s]
    return max(rates, default=None)


def features(device: Device) -> tuple[str, ...]:
    """What it can do beyond fp32: number formats in the matrix units, and the fast link by name."""
    formats = [dtype for dtype in DTYPES if dtype in device.flop_per_s and dtype not in ("fp64", "fp32")]
    fast = [device.link] if device.link and not device.link.startswith(("PCIe", "Ethernet")) else []
    return (*formats, *fast)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which devices to list; None asks nothing. Memory and year are at least, dollars per hour at most."""

    vendor: str | None = None
    kind: str | None = None
    dtype: str | None = None
    memory_bytes: float | None = None
    year: int | None = None
    dollars_per_hour: float | None = None

    def keeps(self, one: Metrics) -> bool:
        """Whether the device passes; one without a year or a price does not pass a filter on it."""
        device, dollars = one.device, one.price.dollars_per_device_hour if one.price else float("inf")
        return (
            self.vendor in (None, device.vendor)
            and self.kind in (None, device.kind)
            and (self.dtype is None or self.dtype in device.flop_per_s)
            and device.memory_bytes >= (self.memory_bytes or 0.0)
            and (device.year or 0) >= (self.year or 0)
            and (self.dollars_per_hour is None or dollars <= self.dollars_per_hour)
        )


def parse_filter(asked: Mapping[str, str | int | None]) -> Filter:
    """A filter from a command's options: memory and price are text with units.

    >>> parse_filter({"memory": "40 GiB", "price": "$2"}).dollars_per_hour
    2.0
    """
    memory, dollars, year = asked.get("memory"), asked.get("price"), asked.get("year")
    known = catalogue.devices()
    return Filter(
        vendor=_one_of("vendor", asked, {device.vendor for device in known}),
        kind=_one_of("kind", asked, {device.kind for device in known}),
        dtype=_one_of("dtype", asked, DTYPES),
        year=None if year is None else int(year),
        memory_bytes=None if memory is None else parse_bytes(str(memory)),
        dollars_per_hour=None if dollars is None else parse_dollars(str(dollars)),
    )


def _one_of(what: str, asked: Mapping[str, str | int | None], names: Iterable[str]) -> str | None:
    """The known name that was asked for, whatever its case."""
    value, by_fold = asked.get(what), {name.casefold(): name for name in names}
    if value is None:
        return None
    if str(value).casefold() not in by_fold:
        raise unknown_name(what, str(value), sorted(by_fold.values()))
    return by_fold[str(value).casefold()]


def select(names: Iterable[str], wanted: Filter, own_prices: Iterable[Price] = ()) -> tuple[Metrics, ...]:
    """The named devices (all, when none is named) that pass the filter, in catalogue order or as named."""
    own = tuple(own_prices)
    chosen = list(names) or [device.name for device in catalogue.devices()]
    found = tuple(one for one in (metrics(name, own) for name in chosen) if wanted.keeps(one))
    if not found:
        raise InvalidInputError(
            f"none of {len(chosen)} devices passes every filter",
            hint="drop or loosen one; `trainwright hardware` lists all devices",
        )
    return found
