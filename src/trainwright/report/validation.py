"""How wrong we are, on the terminal and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from trainwright.cost.score import Score
from trainwright.cost.validate import Validation

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
    )


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
    }
