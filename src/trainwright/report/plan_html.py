"""A plan as one page: the winner, memory by stage, the step's timeline, the Pareto front, the roofline."""

from __future__ import annotations

from trainwright.cost.intensity import standings
from trainwright.plan.answer import Answer
from trainwright.plan.choice import Choice, describe
from trainwright.report.gantt import pipeline_gantt
from trainwright.report.page import page, paragraphs, table
from trainwright.report.plan_text import why
from trainwright.report.svg import Axis, Bar, Series, bar_chart, line_chart
from trainwright.units import format_bytes, format_count, format_dollars, format_rate, format_seconds


def plan_html(answer: Answer) -> str:
    """The whole page, self-contained."""
    best, subject = answer.best, answer.question.subject
    where = f"{best.strategy.n_devices} x {best.cluster.groups[0].device.name}"
    lead = (
        f"{describe(best.strategy)} on {where}: {format_seconds(best.step_s)} a step, "
        f"{format_count(float(best.estimate.tokens_per_s))} {subject.model.unit}/s"
    )
    return page(
        f"Plan for {subject.model.name}",
        lead,
        (
            ("Why", paragraphs(why(answer))),
            ("Candidates", _ranking(answer)),
            ("Memory", _memory(best)),
            ("Where the time goes", _time(answer)),
            ("Timeline of a step", pipeline_gantt(best, answer.question.subject.job.global_batch)),
            ("Time, money and memory", _front(answer)),
            ("Roofline", _roofline(answer)),
            ("One change at a time", _directions(answer)),
            ("Not looked at", paragraphs(answer.result.left_out)),
        ),
    )


def _ranking(answer: Answer) -> str:
    rows = []
    for choice in answer.result.ranking:
        dollars = choice.dollars_per_step
        rows.append(
            (
                describe(choice.strategy),
                choice.cluster.name,
                format_seconds(choice.step_s),
                format_bytes(choice.occupied_bytes),
                "-" if dollars is None else format_dollars(dollars),
            )
        )
    return table(("strategy", "cluster", "step", "memory", "$/step"), rows)


def _memory(choice: Choice) -> str:
    """A bar for each stage, against the memory there is."""
    stages = choice.estimate.stage_memory or (choice.estimate.memory,)
    names = ("first stage", "middle stages", "last stage") if len(stages) == 3 else None
    bars = []
    for index, stage in enumerate(stages):
        parts = [(name, float(size)) for name, size in stage.items() if float(size) > 0]
        label = names[index] if names and choice.strategy.pp > 1 else f"stage {index + 1}"
        if parts and (choice.strategy.pp > 1 or index == 0):
            bars.append(Bar(label=label, parts=parts))
    limit = (format_bytes(choice.capacity_bytes), choice.capacity_bytes)
    return bar_chart("Peak memory of a device, by pipeline stage", bars, format_bytes, limit)


def _time(answer: Answer) -> str:
    bars = [
        Bar(
            label=describe(choice.strategy),
            parts=[(name.replace("_", " "), float(s)) for name, s in choice.estimate.time.items() if float(s) > 0],
        )
        for choice in answer.result.ranking[:4]
    ]
    return bar_chart("Seconds of a step by part", bars, format_seconds)


def _front(answer: Answer) -> str:
    """Time against memory of the front; and against money where there are prices."""
    front = answer.result.front
    if len(front) < 2:
        return ""
    seconds = Axis(label="seconds a step", format=format_seconds, log=True)
    best = [Series(name="chosen", x=[answer.best.step_s], y=[answer.best.occupied_bytes], joined=False)]
    memory = Series(name="front", x=[c.step_s for c in front], y=[c.occupied_bytes for c in front], joined=False)
    charts = line_chart("Memory against time", [memory, *best], seconds, Axis(label="memory", format=format_bytes))
    priced = [c for c in front if c.dollars_per_step is not None]
    if len({round(c.dollars_per_step or 0.0, 9) for c in priced}) > 1:
        money = Series(
            name="front", x=[c.step_s for c in priced], y=[c.dollars_per_step or 0.0 for c in priced], joined=False
        )
        charts += line_chart("Dollars a step against time", [money], seconds, Axis(label="$", format=format_dollars))
    return charts


def _roofline(answer: Answer) -> str:
    """The device's roof, the products of a micro-batch under it, and the mean rate of the whole step as a level."""
    choice, subject = answer.best, answer.question.subject
    group, precision = choice.cluster.groups[0], choice.strategy.precision
    device, found = (
        group.device,
        standings(subject.model, subject.workload, choice.strategy, group, answer.question.task.stack),
    )
    peak = device.flop_per_s.get(precision, max(device.flop_per_s.values()))
    ridge = peak / device.memory_bytes_per_s
    xs = [ridge / 100, ridge, ridge * 100]
    reached = float(choice.estimate.model_flop) / choice.step_s
    series = [
        Series(name=f"{device.name} {precision}", x=xs, y=[min(peak, x * device.memory_bytes_per_s) for x in xs]),
        Series(
            name="products of a micro-batch",
            x=[one.flop_per_byte for one in found],
            y=[one.flop_per_s for one in found],
            joined=False,
        ),
        Series(name=f"the whole step, {100 * reached / peak:.0f} % of peak", x=[xs[0], xs[-1]], y=[reached, reached]),
    ]
    return line_chart(
        "Roofline: what the device can do, what its products reach, and the mean of the step",
        series,
        Axis(label="FLOP per byte", log=True),
        Axis(label="FLOP/s", format=lambda value: format_rate(value, "FLOP/s"), log=True),
    )


def _directions(answer: Answer) -> str:
    rows = [(d.change, d.verdict, d.text) for d in answer.explanation.directions]
    return table(("change", "", "what it would do"), rows)
