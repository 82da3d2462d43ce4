"""A run as one HTML file: loss, predicted beside measured part by part, memory, the sample, the plan."""

from __future__ import annotations

from collections.abc import Sequence

from trainwright.records.plan import PlanRecord
from trainwright.records.run import RunRecord
from trainwright.records.step import StepRecord
from trainwright.report.compare import Line, compare, unit_of
from trainwright.report.page import page, paragraphs, preformatted, table
from trainwright.report.run_text import RANK_COLUMNS, rank_rows, saving_told, written, written_difference, written_range
from trainwright.report.svg import Axis, Bar, Series, bar_chart, line_chart
from trainwright.units import format_bytes, format_count, format_seconds


def run_html(plan: PlanRecord, run: RunRecord, steps: Sequence[StepRecord]) -> str:
    """The whole page."""
    lines = compare(plan.chosen, run, unit_of(plan.job))
    name = str(plan.job.get("name", "job"))
    learned = f"{format_count(run.tokens)} {unit_of(plan.job)}"
    lead = (
        f"{format_count(run.n_parameters)} parameters, {run.steps} steps, {learned} in "
        f"{format_seconds(run.seconds)} on {plan.chosen.label} ({plan.cluster.get('device', '')}). {run.status}."
    )
    return page(
        name,
        lead,
        (
            ("Predicted beside measured", _comparison(lines) + _time_bars(lines)),
            ("Memory", _memory_bars(plan, lines) + _ranks(run)),
            ("Learning", _loss(run, steps) + _speed(plan, steps)),
            ("Sample", preformatted(f"{run.prompt}{run.sample}" if run.sample else "")),
            ("Why this plan", paragraphs(plan.why) + _others(plan)),
            ("Notes", paragraphs((*run.notes, *saving_told(run)))),
        ),
    )


def _comparison(lines: Sequence[Line]) -> str:
    rows = [
        (
            "\u2003" * line.is_detail + line.name,
            written_range(line),
            written(line, line.measured),
            written_difference(line),
        )
        for line in lines
    ]
    inside = frozenset(index for index, line in enumerate(lines) if line.is_part)
    return table(("", "predicted (80 % interval)", "measured", "off by"), rows, inside)


def _time_bars(lines: Sequence[Line]) -> str:
    parts = [line for line in lines if line.is_part and not line.is_detail]
    bars = [
        Bar(label="predicted", parts=[(p.name, p.predicted or 0.0) for p in parts if (p.predicted or 0.0) >= 0]),
        Bar(label="measured", parts=[(p.name, p.measured or 0.0) for p in parts]),
    ]
    return bar_chart("Seconds of a step, by part", bars, format_seconds)


def _memory_bars(plan: PlanRecord, lines: Sequence[Line]) -> str:
    largest = sorted(((n, v) for n, v in plan.chosen.memory.items() if v > 0), key=lambda part: -part[1])
    bars = [Bar(label="predicted peak", parts=largest)]
    measured = {line.name: line.measured for line in lines}
    if measured["peak memory"]:
        bars.append(Bar(label="measured peak", parts=[("measured", measured["peak memory"])]))
    return bar_chart("Bytes at the peak of the fullest process, by part", bars, format_bytes)


def _ranks(run: RunRecord) -> str:
    return table(RANK_COLUMNS, rank_rows(run)) if len(run.ranks) > 1 else ""


def _loss(run: RunRecord, steps: Sequence[StepRecord]) -> str:
    series = [Series(name="training loss", x=[s.step for s in steps], y=[s.loss for s in steps])]
    if run.evaluations:
        held = run.evaluations
        series.append(Series(name="held-out loss", x=[e.step for e in held], y=[e.loss for e in held]))
    return line_chart("Loss", series, Axis(label="step"), Axis(label="nats"))


def _speed(plan: PlanRecord, steps: Sequence[StepRecord]) -> str:
    if not steps:
        return ""
    xs = [s.step for s in steps]
    measured = Series(name="measured", x=xs, y=[s.seconds for s in steps])
    predicted = Series(name="predicted", x=[xs[0], xs[-1]], y=[plan.chosen.step_s] * 2)
    return line_chart("Seconds of each step", (measured, predicted), Axis(label="step"), Axis(label="seconds"))


def _others(plan: PlanRecord) -> str:
    rows = [
        (c.label, format_seconds(c.step_s), format_bytes(c.peak_bytes), f"{c.tokens_per_s:,.0f}", c.note)
        for c in (plan.chosen, *plan.others)
    ]
    return table(("strategy", "step", "peak memory", "tokens/s", ""), rows)
