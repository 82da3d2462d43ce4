"""Folds of a job: accuracy on the terminal, the confusion and the worst mistakes as a page."""

from __future__ import annotations

import base64
import statistics
from dataclasses import asdict
from html import escape
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from trainwright.records.competition import Competition, Mistake
from trainwright.report.page import page, paragraphs, table
from trainwright.units import format_seconds


def competition_text(found: Competition) -> RenderableType:
    """A line for each fold, the mean, and the price of the views."""
    lines = Table(box=None, pad_edge=False, header_style="dim")
    lines.add_column("fold")
    lines.add_column("accuracy", justify="right")
    if found.n_views > 1:
        lines.add_column(f"{found.n_views} views", justify="right")
    means = tuple(statistics.fmean(each) for each in zip(*found.folds, strict=True))
    for name, pair in [*((str(n + 1), pair) for n, pair in enumerate(found.folds)), ("mean", means)]:
        lines.add_row(name, *(f"{100 * share:.1f} %" for share in pair[: 2 if found.n_views > 1 else 1]))
    return Group(lines, "", *summary(found))


def summary(found: Competition) -> list[str]:
    """Sentences: what was confused most, and what the views cost."""
    pairs = [
        (found.confusion[i][j], one, other)
        for i, one in enumerate(found.classes)
        for j, other in enumerate(found.classes)
        if i != j
    ]
    most = max(pairs)
    said = [f"confused most: {most[1]} taken for {most[2]}, {most[0]} times"] if most[0] else ["no image was mistaken"]
    if found.n_views > 1:
        once, all_ = found.image_s
        said.append(f"{found.n_views} views: {format_seconds(all_)} an image, {format_seconds(once)} with one")
    return said


def competition_json(found: Competition) -> dict[str, Any]:
    """All figures; mistakes without their pictures."""
    names = ("name", "classes", "folds", "confusion", "n_views", "image_s", "n_submitted")
    figures = {name: getattr(found, name) for name in names}
    return {**figures, "mistakes": [asdict(mistake.said) for mistake in found.mistakes]}


def competition_html(found: Competition) -> str:
    """The page."""
    n_images = sum(sum(row) for row in found.confusion)
    right = sum(row[i] for i, row in enumerate(found.confusion))
    lead = f"{len(found.folds)} folds: {right} of {n_images} images right, each judged by a model that never saw it."
    rows = [
        (name, *(str(n) if n else "" for n in row)) for name, row in zip(found.classes, found.confusion, strict=True)
    ]
    confusion = table(("label, taken for", *found.classes), rows)
    worst = "".join(_figure(mistake) for mistake in found.mistakes)
    shown = f'<div style="display:flex;flex-wrap:wrap;gap:.8rem">{worst}</div>' if worst else ""
    sections = (("In short", paragraphs(summary(found))), ("Confusion", confusion), ("Most wrong", shown))
    return page(f"Mistakes of {found.name}", lead, sections)


def _figure(mistake: Mistake) -> str:
    data = base64.b64encode(mistake.png).decode()
    judged = mistake.said
    said = escape(f"{judged.label}, taken for {judged.predicted} ({100 * judged.chance:.0f} %)")
    return (
        f'<figure style="margin:0;width:8rem"><img alt="{said}" style="width:8rem;image-rendering:pixelated" '
        f'src="data:image/png;base64,{data}"><figcaption>{said}<br>{escape(judged.file)}</figcaption></figure>'
    )
