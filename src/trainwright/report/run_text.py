"""A run on the terminal: predicted beside measured, and a sample of what the model writes."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from trainwright.records.plan import PlanRecord
from trainwright.records.run import Evaluation, RunRecord
from trainwright.report.compare import EXCHANGES, LEAST_S, Line, compare, measured_parts, unit_of
from trainwright.units import format_bytes, format_count, format_seconds


def written(line: Line, value: float | None) -> str:
    """A figure in its unit, or a dash when nobody knows it."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if line.unit == "bytes":
        return format_bytes(value)
    return format_seconds(value) if line.unit == "seconds" else f"{value:,.0f}"


def written_range(line: Line) -> str:
    """The predicted figure with its interval."""
    if line.low is None or line.high is None or line.low == line.high:
        return written(line, line.predicted)
    return f"{written(line, line.predicted)}  ({written(line, line.low)} - {written(line, line.high)})"


def written_difference(line: Line) -> str:
    """The prediction against the measurement, in percent."""
    share = line.difference_share
    return "" if share is None else f"{100 * share:+.1f} %"


def run_text(plan: PlanRecord, run: RunRecord) -> RenderableType:
    """The table and the sample, for rich to print."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "predicted", "measured", "off by"):
        table.add_column(column, justify="left" if not column else "right")
    for line in compare(plan.chosen, run, unit_of(plan.job)):
        name = "  " * (line.is_part + line.is_detail) + line.name
        table.add_row(
            name,
            written_range(line),
            written(line, line.measured),
            written_difference(line),
            style="dim" if line.is_part else None,
        )
    parts: list[RenderableType] = [headline(plan, run), "", table]
    if len(run.ranks) > 1:
        parts += ["", ranks_table(run)]
    notes = [*run.notes, *saving_told(run)]
    parts += ["", *(escape(note) for note in notes)] if notes else []
    if run.sample:
        parts += ["", f"[dim]sample, after {escape(repr(run.prompt))}:[/dim]", escape(run.sample)]
    return Group(*parts)


def rank_rows(run: RunRecord) -> list[tuple[str, ...]]:
    """Each process: its peak and resident memory, what it computed in a step, exchanged, and waited in a bubble."""
    rows = []
    for rank in run.ranks:
        own = measured_parts(replace(run, time=rank.time))
        worked = sum(own[name] for name in ("forward", "backward", "optimizer"))
        exchanged = sum(own[name] for name in EXCHANGES)
        rows.append(
            (
                f"process {rank.rank}",
                "-" if rank.peak_bytes is None else format_bytes(rank.peak_bytes),
                format_bytes(rank.resident_bytes),
                *(format_seconds(s) if s > LEAST_S else "-" for s in (worked, exchanged, own["bubble"])),
            )
        )
    return rows


RANK_COLUMNS = ("", "peak memory", "resident set", "computed", "exchanged", "bubble")


def ranks_table(run: RunRecord) -> Table:
    """rank_rows for rich to print."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in RANK_COLUMNS:
        table.add_column(column, justify="left" if not column else "right")
    for row in rank_rows(run):
        table.add_row(*row)
    return table


def saving_told(run: RunRecord) -> list[str]:
    """What the run's checkpoints cost it, in a sentence."""
    if not run.n_checkpoints:
        return []
    waited, written = format_seconds(run.checkpoint_s), format_seconds(run.checkpoint_writing_s)
    return [f"{run.n_checkpoints} checkpoints: steps waited {waited} for them, writing took {written} beside"]


def headline(plan: PlanRecord, run: RunRecord) -> str:
    """One sentence: what was trained, how long it took, what it learned."""
    name = escape(str(plan.job.get("name", "job")))
    tokens = f"{run.steps} steps, {format_count(run.tokens)} {unit_of(plan.job)} in {format_seconds(run.seconds)}"
    words = [f"[bold]{name}[/bold]: {tokens} on {escape(plan.chosen.label)}"]
    if run.status != "finished":
        words.append(run.status)
    if run.first_loss is not None and run.last_loss is not None:
        words.append(f"loss {run.first_loss:.2f} to {run.last_loss:.2f}")
    if run.evaluations:
        words.append(f"held-out {quality(run.evaluations[-1])}")
    return ", ".join(words)


def quality(evaluation: Evaluation) -> str:
    """How good the model was: accuracy where there are classes, else perplexity."""
    if evaluation.accuracy is not None:
        return f"accuracy {100 * evaluation.accuracy:.1f} %"
    return f"perplexity {evaluation.perplexity:.1f}"
