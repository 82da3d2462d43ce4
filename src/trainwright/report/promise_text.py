"""A measured machine beside its promise, on the terminal."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trainwright.hardware.promise import Comparison
from trainwright.units import format_bytes, format_rate


def promise_text(found: Comparison) -> Group:
    """Figure by figure, then what is odd."""
    table = Table(title=None, box=None, pad_edge=False)
    for name in ("", "measured", "promised", "share"):
        table.add_column(name, justify="left" if not name else "right")
    for figure in found.figures:
        share = "" if figure.share is None else f"{figure.share:.0%}"
        table.add_row(figure.name, _amount(figure.measured, figure.unit), _amount(figure.promised, figure.unit), share)
    machine = found.machine
    parts: list[RenderableType] = [
        Text(f"{machine.name}: {machine.description}, measured {machine.measured_at[:10]}"),
        Text(f"promised by {found.promised_by}"),
        table,
        *(Text(f"odd: {sentence}") for sentence in found.odd),
    ]
    return Group(*parts, *([] if found.odd else [Text("nothing odd")]))


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return format_bytes(value) if unit == "B" else f"{value:.0f} W" if unit == "W" else format_rate(value, unit)


def promise_json(found: Comparison) -> dict[str, Any]:
    """The same as plain values."""
    figures = [{**dataclasses.asdict(figure), "share": figure.share} for figure in found.figures]
    return {"machine": found.machine.name, "promised_by": found.promised_by, "figures": figures, "odd": found.odd}
