"""How wrong we are, on the terminal and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from trainwright.cost.score import Score
from trainwright.cost.validate import Validation
from trainwright.cost.validate_memory import Fits, MemoryValidation

WAYS = {
    "shipped": "constants as shipped (fitted on most of these rows)",
    "blind": "constants from other sources only",
    "calibrated": "constants from other sources and from other models of the same source",
}


def validation_text(found: Validation) -> RenderableType:
    """A row for each group, the largest first, and what was refused."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in (found.by, "rows", "MAPE", "median", "bias", "in 10%", "worst", "in 80%", "ranked", "regret"):
        is_group = name == found.by
        width = 24 if is_group else 6  # the groups' names give way, not the figures
        table.add_column(name, justify="left" if is_group else "right", no_wrap=True, min_width=width, max_width=width)
    for name, one in sorted(found.groups.items(), key=lambda item: -item[1].n_rows):
        table.add_row(escape(name), *figures(one))
    table.add_row("all rows", *figures(found.overall), style="bold")
    n_refused = sum(found.refused.values())
    reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(found.refused.items()))
    return Group(
        f"[bold]{found.n_used} rows[/bold], {WAYS[found.way]}",
        "",
        table,
        "",
        f"median over {found.by}s of the median error: {100 * found.median_of_medians:.1f} %",
        f"refused: {n_refused} rows, {100 * found.refused_share:.1f} %" + (f" ({reasons})" if reasons else ""),
        *_memory(found.memory, found.by),
    )


def _memory(found: MemoryValidation | None, by: str) -> list[RenderableType]:
    """Peaks and fits by group, where any row tells of them."""
    if found is None:
        return []
    names = sorted({*found.groups, *found.fits}, key=lambda name: (-_rows(found, name), name))
    if not names:
        return []
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in (by, "peaks", "MAPE", "median", "bias", "in 10%", "worst", "ran", "failed", "right"):
        width = 24 if name == by else 6
        table.add_column(
            name, justify="left" if name == by else "right", no_wrap=True, min_width=width, max_width=width
        )
    for name in names:
        table.add_row(escape(name), *_memory_figures(found.groups.get(name), found.fits.get(name, Fits())))
    table.add_row("all rows", *_memory_figures(found.overall, found.all_fits), style="bold")
    middle = found.median_of_medians
    told = "" if middle is None else f"; median over {by}s of the median error: {100 * middle:.1f} %"
    return [
        "",
        f"[bold]Memory[/bold]: peaks as each source read them, and what ran or ran out of memory{told}",
        "",
        table,
    ]


def _rows(found: MemoryValidation, name: str) -> int:
    one = found.groups.get(name)
    return one.n_rows if one else 0


def _memory_figures(one: Score | None, fits: Fits) -> list[str]:
    peaks = figures(one)[:6] if one else ["", "", "", "", "", ""]
    return [*peaks, str(fits.ran or ""), str(fits.failed or ""), _percent(fits.right_share)]


def figures(one: Score) -> list[str]:
    """A score as texts."""
    after = (one.within_10, one.worst, one.coverage, one.ranking, one.regret)
    bias = f"{100 * one.bias:+.1f}%"
    return [str(one.n_rows), _percent(one.mape), _percent(one.median), bias, *(_percent(share) for share in after)]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}%"


def validation_json(found: Validation) -> dict[str, Any]:
    """The same as one JSON document; shares are between 0 and 1."""
    return {
        "way": found.way,
        "by": found.by,
        "rows_used": found.n_used,
        "rows_refused": found.refused,
        "refused_share": found.refused_share,
        "median_of_medians": found.median_of_medians,
        "overall": asdict(found.overall),
        "groups": {name: asdict(one) for name, one in found.groups.items()},
        "memory": _memory_json(found.memory) if found.memory else None,
    }


def _memory_json(found: MemoryValidation) -> dict[str, Any]:
    return {
        "overall": asdict(found.overall) if found.overall else None,
        "median_of_medians": found.median_of_medians,
        "groups": {name: asdict(one) for name, one in found.groups.items()},
        "fits": {name: {**asdict(one), "right_share": one.right_share} for name, one in found.fits.items()},
        "fits_overall": {**asdict(found.all_fits), "right_share": found.all_fits.right_share},
    }
