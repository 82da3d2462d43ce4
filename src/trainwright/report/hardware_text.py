"""Devices and links on the terminal: a list, or some of them side by side with their rooflines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from trainwright.hardware.link import Link
from trainwright.hardware.metrics import Metrics
from trainwright.hardware.prices import quotes
from trainwright.hardware.roofline import roofline
from trainwright.report.hardware_cells import METRICS, NONE, REFERENCE_NOTE, dollars, peak, rate
from trainwright.report.roofline_text import roofline_text
from trainwright.units import format_bytes, format_rate, format_seconds

SIDE_BY_SIDE = 3
QUOTES = 8


def hardware_text(found: Sequence[Metrics], named: bool) -> RenderableType:
    """Named devices in full, side by side; otherwise one line each."""
    if not named:
        return device_list(found)
    parts: list[RenderableType] = []
    for start in range(0, len(found), SIDE_BY_SIDE):
        parts += [comparison(found[start : start + SIDE_BY_SIDE]), ""]
    parts += [f"[dim]{escape(REFERENCE_NOTE)}[/dim]", ""]
    parts += [roofline_text([roofline(one.device) for one in found])]
    if len(found) == 1:
        parts += ["", *details(found[0])]
    return Group(*parts)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index == 0)
    return table


def device_list(found: Sequence[Metrics]) -> RenderableType:
    """One line a device."""
    table = _table("device", "year", "memory", "bandwidth", "fp32", "16 bits", "fp8", "power", "$/h")
    for one in found:
        device = one.device
        table.add_row(
            device.name,
            str(device.year or NONE),
            format_bytes(device.memory_bytes),
            format_rate(device.memory_bytes_per_s, "B/s"),
            *(text.replace("FLOP/s", "") for text in (peak("fp32")(one), rate(one.sixteen_bit_flop_per_s))),
            peak("fp8")(one).replace("FLOP/s", ""),
            f"{device.power_w:.0f} W" if device.power_w else NONE,
            dollars(one),
        )
    note = f"{len(found)} devices; dense FLOP/s; name some to compare them on every metric, with sources"
    return Group(table, "", f"[dim]{note}[/dim]")


def comparison(found: Sequence[Metrics]) -> Table:
    """Metrics down, devices across; a metric that none of them has is left out."""
    table = _table("", *(one.device.name for one in found))
    for name, cell in METRICS:
        cells = [cell(one) for one in found]
        if any(text != NONE for text in cells):
            table.add_row(name, *(escape(text) for text in cells), style="dim" if name.startswith(" ") else None)
    return table


def details(one: Metrics) -> list[str]:
    """Node, network, price quotes, notes and sources of one device."""
    device = one.device
    lines = [f"usual node: {one.per_node} of them, {device.link or 'no link'} inside, {one.network} between nodes"]
    found = quotes(device.name, kind=None)
    lines += [f"prices ({len(found)} quotes):"] if found else []
    lines += [f"  ${quote.dollars_per_device_hour:.2f}/h  {quote.describe()}" for quote in found[:QUOTES]]
    lines += [f"  and {len(found) - QUOTES} more with --json"] if len(found) > QUOTES else []
    lines += [f"best matmul in {b.dtype}: ({b.m} x {b.k}) x ({b.k} x {b.n}), {b.source}" for b in one.best_matmuls]
    lines += [f"efficiency: {device.efficiency.source}"]
    lines += [f"notes: {device.notes}"] if device.notes else []
    lines += [f"source ({one.date}): {device.source}"]
    return [escape(part) for line in lines for part in textwrap.wrap(line, 100, subsequent_indent="  ")]


def link_list(links: Sequence[Link]) -> RenderableType:
    """One line a link; what one device gets in one direction."""
    table = _table("link", "per device and direction", "step latency", "large collectives reach")
    for link in links:
        table.add_row(
            link.name,
            format_rate(link.bytes_per_s, "B/s"),
            format_seconds(link.latency_s),
            f"{link.efficiency:.0%}" + (", adds in the switch" if link.in_network_reduction else ""),
        )
    if len(links) > 3:
        return table
    said = [f"{link.name}: {link.source}. {link.notes}".rstrip(". ") for link in links]
    return Group(table, "", *(escape(part) for line in said for part in textwrap.wrap(line, 100)))
