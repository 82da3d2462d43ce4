"""What a device costs: dated quotes per provider (data/prices.toml), and the user's own, which go first.

A file of one's own has the same tables; provider, kind and date may be left out:

    [[price]]
    device = "H100-SXM"
    dollars_per_device_hour = 2.10
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.hardware import catalogue

KINDS = ("on-demand", "spot", "reserved", "serverless")
_KEYS = ("device", "provider", "kind", "dollars_per_device_hour", "instance", "date", "source", "notes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One quote. ``date`` is a year, a month, a day, or "undated"."""

    device: str
    provider: str
    kind: str
    dollars_per_device_hour: float
    date: str
    source: str
    instance: str | None = None
    notes: str = ""

    @property
    def year(self) -> int:
        """The year of the quote; 0 when it has no date."""
        return int(self.date[:4]) if self.date[:4].isdigit() else 0

    def describe(self) -> str:
        """Provider, kind, instance and date, for people."""
        instance = f" {self.instance}" if self.instance else ""
        return f"{self.provider}{instance}, {self.kind}, {self.date}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What one device costs to buy."""

    device: str
    provider: str
    dollars: float
    date: str
    source: str


@functools.cache
def prices() -> tuple[Price, ...]:
    """Every quote of the catalogue."""
    return tuple(Price(**raw) for raw in catalogue.load_toml(catalogue.DATA / "prices.toml")["price"])


@functools.cache
def purchases() -> tuple[Purchase, ...]:
    """What devices cost to buy, where a list says so."""
    return tuple(Purchase(**raw) for raw in catalogue.load_toml(catalogue.DATA / "prices.toml")["purchase"])


def read_prices(path: Path) -> tuple[Price, ...]:
    """A user's own quotes."""
    tables = catalogue.load_toml(path).get("price", [])
    if not tables:
        raise InvalidInputError(f"{path} has no [[price]]", hint="add one with device and dollars_per_device_hour")
    return tuple(_own_price(path, table) for table in tables)


def _own_price(path: Path, table: Mapping[str, Any]) -> Price:
    for key in table:
        if key not in _KEYS:
            raise unknown_name(f"key in {path}", key, _KEYS)
    dollars = table.get("dollars_per_device_hour")
    if "device" not in table or not isinstance(dollars, int | float) or dollars < 0:
        raise InvalidInputError(
            f"{path}: a price needs a device and dollars_per_device_hour, not {dict(table)}",
            hint='write device = "H100-SXM" and dollars_per_device_hour = 2.10',
        )
    name = catalogue.device(table["device"]).name
    usual = {"provider": "yours", "kind": "on-demand", "date": "undated", "source": str(path)}
    return Price(**{**usual, **table, "device": name, "dollars_per_device_hour": float(dollars)})


def quotes(device: str, provider: str | None = None, kind: str | None = "on-demand") -> tuple[Price, ...]:
    """The catalogue's quotes for a device, newest first; ``kind`` None is every kind."""
    found = [p for p in prices() if p.device == device and kind in (None, p.kind)]
    if provider is not None:
        known = sorted({p.provider for p in prices()})
        if provider.casefold() not in (name.casefold() for name in known):
            raise unknown_name("provider", provider, known)
        found = [p for p in found if p.provider.casefold() == provider.casefold()]
    return tuple(sorted(found, key=lambda p: p.date if p.year else "", reverse=True))


def price(device: str, provider: str | None = None, kind: str = "on-demand", own: Iterable[Price] = ()) -> Price | None:
    """The price to reckon with: the user's own; else the middle one of the quotes of the newest two years.

    Of an even number the lower of the middle two. None when nobody quotes the device.

    >>> found = price("H100-SXM")
    >>> 1 < found.dollars_per_device_hour < 5
    True
    """
    if kind not in KINDS:
        raise unknown_name("kind of price", kind, KINDS)
    for quote in own:
        if quote.device == device and provider in (None, quote.provider):
            return quote
    found = quotes(device, provider, kind)
    if not found:
        return None
    recent = [quote for quote in found if quote.year >= found[0].year - 1]
    return sorted(recent, key=lambda quote: quote.dollars_per_device_hour)[(len(recent) - 1) // 2]
