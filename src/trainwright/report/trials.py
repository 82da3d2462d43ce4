"""Learning rates and batches of a job as short trainings showed them: a table, JSON, and a page with the curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from trainwright.records.trials import RateCurve, Trials
from trainwright.report.page import page, paragraphs
from trainwright.report.svg import Axis, Series, line_chart
from trainwright.units import format_bytes


def trials_text(found: Trials) -> RenderableType:
    """One line for each rate tried, then what follows."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("rate", "steps", "first loss", "lowest", "last", ""):
        table.add_column(column, justify="right" if column else "left")
    for curve in found.curves:
        verdict = "calm" if curve.proposed is not None else "swings or diverges"
        table.add_row(*_figures(curve), verdict)
    return Group(table, "", *advice(found))


def _figures(curve: RateCurve) -> Sequence[str]:
    if not curve.losses:
        return ("-", "0", "-", "-", "-")
    return (
        f"{curve.rates[0]:.2g}", str(len(curve.losses)), f"{curve.losses[0]:.3f}", f"{min(curve.losses):.3f}",
        f"{curve.losses[-1]:.3f}",
    )  # fmt: skip


def advice(found: Trials) -> list[str]:
    """Sentences: the two rates, the batch by noise and by memory."""
    lines = []
    if found.range_curve.proposed is not None:
        peak = found.range_curve.proposed
        lines.append(f"range test: take {peak:.2g} as the peak, a tenth of the rate where the loss is lowest")
    calm = found.curves[-1].proposed if found.curves else None
    if calm is None:
        lines.append(f"from large to small: none of {len(found.curves)} rates was calm")
    else:
        lines.append(f"from large to small: {calm:.2g} is the first that neither swings nor diverges")
    if found.noise.samples is None:
        lines.append(f"noise scale: not to be told from batches of {found.noise.of_batch}")
    else:
        noise, batch = found.noise.samples, found.noise.of_batch
        size = "less than one sample" if noise < 1 else f"{noise:,.0f} samples"
        lines.append(
            f"noise scale: {size} (batch now {batch}): the same loss takes about {1 + noise / batch:.2g} "
            f"times the fewest steps and {1 + batch / noise:.2g} times the fewest samples; it grows as the loss falls"
        )
    if found.most_at_once is not None:
        lines.append(f"memory: about {found.most_at_once:,} samples at once in {format_bytes(found.memory_bytes)}")
    return lines


def trials_json(found: Trials) -> dict[str, Any]:
    """All figures, with the advice."""
    return {**asdict(found), "advice": advice(found)}


def trials_html(found: Trials) -> str:
    """The curves as a page."""
    swept = found.range_curve
    first = line_chart(
        "loss while the rate grows",
        [Series(name="loss", x=swept.rates, y=swept.losses)],
        Axis(label="learning rate", log=True, format="{:.0e}".format),
        Axis(label="loss", log=True),
    )
    tried = [
        Series(name=f"{curve.rates[0]:.2g}", x=tuple(range(len(curve.losses))), y=curve.losses)
        for curve in found.curves
        if curve.losses
    ]
    second = line_chart("loss at each rate", tried, Axis(label="step"), Axis(label="loss", log=True))
    sections = (("What follows", paragraphs(advice(found))), ("Range test", first), ("From large to small", second))
    return page(f"Learning rate of {found.name}", "Short trainings from the same first weights.", sections)
