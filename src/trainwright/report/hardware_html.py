"""Devices side by side as one page: the metrics, the rooflines, the sources."""

from __future__ import annotations

from collections.abc import Sequence

from trainwright.hardware.metrics import Metrics
from trainwright.hardware.roofline import LANDMARKS, Roofline, roofline
from trainwright.report.hardware_cells import METRICS, NONE, REFERENCE_NOTE
from trainwright.report.page import page, paragraphs, table
from trainwright.report.roofline_text import HIGH, LETTERS, LOW, legend
from trainwright.report.svg import Axis, Series, line_chart
from trainwright.units import format_rate

LETTERED = 5
"""From so many lines on, the chart's own legend has room for letters only; the text below names them."""


def hardware_html(found: Sequence[Metrics]) -> str:
    """The page."""
    roofs = [roofline(one.device) for one in found]
    rows = [(name.strip(), *(cell(one) for one in found)) for name, cell in METRICS]
    rows = [row for row in rows if any(text != NONE for text in row[1:])]
    parts = frozenset(index for index, row in enumerate(rows) if row[0].startswith(("cores x", "best published")))
    names = [one.device.name for one in found]
    marks = "; ".join(f"{mark.name} {mark.flop_per_byte:.3g}" for mark in LANDMARKS)
    sources = [f"{one.device.name} ({one.date}): {one.device.source}. {one.device.notes}" for one in found]
    return page(
        " and ".join(names) if len(names) < 4 else f"{len(names)} devices",
        REFERENCE_NOTE,
        (
            ("Metrics", table(("", *names), rows, parts)),
            ("Roofline", roofline_svg(roofs) + paragraphs([*legend(roofs), f"FLOP per byte of: {marks}."])),
            ("Sources", paragraphs(sources)),
        ),
    )


def roofline_svg(roofs: Sequence[Roofline]) -> str:
    """Both axes logarithmic: a line a device, from memory's slope to compute's ceiling."""
    series = [
        Series(name=roof.name if len(roofs) < LETTERED else letter, x=xs, y=[roof.at(x) for x in xs])
        for letter, roof in zip(LETTERS, roofs, strict=False)
        for xs in [(LOW, roof.ridge_flop_per_byte, HIGH)]
    ]
    x_axis = Axis(label="FLOP per byte", log=True)
    y_axis = Axis(label="FLOP/s", log=True, format=lambda value: format_rate(value, ""))
    return line_chart("Roofline: the most a device can do at each arithmetic intensity", series, x_axis, y_axis)
