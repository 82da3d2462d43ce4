"""One prediction on the terminal and as JSON: every part of time and memory, how sure, the whole job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from trainwright.cost.estimate import Interval
from trainwright.cost.rule_of_thumb import differences
from trainwright.plan.choice import Choice, describe
from trainwright.plan.forecast import Forecast
from trainwright.report.plan_json import choice_json
from trainwright.units import format_bytes, format_count, format_dollars, format_rate, format_seconds

ANSWERS = {"yes": "yes", "no": "no", "close": "close: the interval reaches past the memory"}


def estimate_text(forecast: Forecast, *, with_rule: bool = False) -> RenderableType:
    """Everything, for rich to print."""
    lines = [headline(forecast), "", *summary(forecast)]
    parts: list[RenderableType] = [*lines, "", time_table(forecast), "", memory_table(forecast)]
    if with_rule:
        parts += ["", *rule_lines(forecast)]
    return Group(*parts)


def headline(forecast: Forecast) -> str:
    """What, with what, on what, how."""
    choice = forecast.choice
    model = f"{forecast.subject.model.name} ({format_count(forecast.subject.model.n_parameters)} parameters)"
    on = f"{choice.strategy.n_devices} x {forecast.device.name}"
    return (
        f"[bold]{escape(model)}[/bold], batch {forecast.subject.batch}, {forecast.stack} on {escape(on)}\n"
        f"{escape(describe(choice.strategy))}, {choice.strategy.precision}"
    )


def summary(forecast: Forecast) -> list[str]:
    """Step, rate, utilization, memory, energy, money, days."""
    choice, estimate = forecast.choice, forecast.choice.estimate
    lines = [f"step      {step_line(choice, forecast.subject.model.unit)}"]
    mfu, hfu = forecast.choice.utilization(), forecast.choice.utilization(hardware=True)
    if mfu is not None and hfu is not None:
        peak = forecast.device.flop_per_s[choice.strategy.precision]
        lines.append(
            f"use       MFU {100 * mfu:.1f} %, HFU {100 * hfu:.1f} % of {format_rate(peak, 'FLOP/s')} dense "
            f"{choice.strategy.precision}"
        )
    lines.append(f"memory    {memory_line(choice)}")
    lines.append(f"fits      {ANSWERS[forecast.fits]}")
    if estimate.energy_j is not None:
        watts = float(estimate.energy_j) / choice.step_s / float(estimate.n_devices)
        lines.append(
            f"energy    {float(estimate.energy_j) / 3.6e6:.3g} kWh a step, {watts:.0f} W a device, hosts included"
        )
    if choice.dollars_per_step is not None:
        lines.append(f"money     {format_dollars(choice.dollars_per_step)} a step")
    return lines + job_lines(forecast)


def step_line(choice: Choice, unit: str) -> str:
    """Seconds of a step with their interval, and tokens (or images) per second."""
    estimate = choice.estimate
    span = _span(estimate.step_interval, format_seconds)
    return f"{format_seconds(choice.step_s)}{span}, {format_rate(float(estimate.tokens_per_s), f'{unit}/s')}"


def memory_line(choice: Choice) -> str:
    """What the fullest device loses at the peak of what it has, with the interval."""
    span = _span(choice.estimate.memory_interval, format_bytes)
    return f"{format_bytes(choice.occupied_bytes)} of {format_bytes(choice.capacity_bytes)} a device{span}"


def job_lines(forecast: Forecast) -> list[str]:
    """The whole job, where its length is known."""
    whole = forecast.bill
    if whole is None:
        return []
    words = [
        format_seconds(float(whole.seconds)),
        f"{format_count(whole.n_steps)} steps",
        f"{format_count(float(whole.device_hours))} device hours",
    ]
    if whole.joules is not None:
        words.append(f"{float(whole.joules) / 3.6e9:,.3g} MWh")
    if whole.dollars is not None:
        words.append(format_dollars(float(whole.dollars)))
    return [f"job       {', '.join(words)}"]


def _span(interval: Interval | None, write: Any) -> str:
    if interval is None:
        return ""
    low, high = write(float(interval.low)), write(float(interval.high))
    return f" ({low} to {high} with {100 * interval.confidence:.0f} %)"


def time_table(forecast: Forecast) -> Table:
    """Exposed seconds by part, what hides behind compute beside it, and where the formula comes from."""
    estimate = forecast.choice.estimate
    table = _columns("time", "exposed", "share", "hidden", "formula")
    for name, seconds in estimate.time.items():
        hidden = float(estimate.hidden.get(name, 0.0))
        if float(seconds) == 0.0 and hidden == 0.0:
            continue
        share = f"{100 * float(seconds) / forecast.choice.step_s:.1f} %"
        behind = format_seconds(hidden) if hidden else ""
        source = estimate.sources.get(name, "").split(";")[0]
        table.add_row(
            name.replace("_", " "), format_seconds(float(seconds)), share, behind, f"[dim]{escape(source)}[/dim]"
        )
    return table


def memory_table(forecast: Forecast) -> Table:
    """Bytes by part on the fullest device, and for each pipeline stage where there are several."""
    estimate = forecast.choice.estimate
    stages: list[tuple[str, Mapping[str, Any]]] = [("peak", estimate.memory)]
    if forecast.choice.strategy.pp > 1:
        names = ("first stage", "between", "last stage")
        stages += list(zip(names, estimate.stage_memory, strict=False))
    table = _columns("memory", *(name for name, _ in stages))
    for part in estimate.memory:
        if any(float(stage[part]) for _, stage in stages):
            table.add_row(part, *(format_bytes(float(stage[part])) for _, stage in stages))
    table.add_row("allocated", *(format_bytes(sum(float(v) for v in stage.values())) for _, stage in stages))
    return table


def _columns(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index, name in enumerate(names):
        table.add_column(
            name, justify="left" if index == 0 or name == "formula" else "right", no_wrap=name != "formula"
        )
    return table


def rule_lines(forecast: Forecast) -> list[str]:
    """The notes' rules of thumb beside ours, and why they differ."""
    estimate, rule = forecast.choice.estimate, forecast.rule
    flop = float(estimate.model_flop) * float(estimate.n_devices)
    lines = [
        f"rule of thumb: memory {format_bytes(rule.memory_bytes)} on one device; "
        f"ours {format_bytes(forecast.choice.peak_bytes)}",
        f"rule of thumb: 6ND {rule.step_flop:.3g} FLOP a step; ours {flop:.3g}",
    ]
    return lines + [f"  {escape(sentence)}" for sentence in differences(rule, estimate)]


def estimate_json(forecast: Forecast) -> dict[str, Any]:
    """The same as one JSON document."""
    estimate, whole = forecast.choice.estimate, forecast.bill
    n_steps = None if whole is None else whole.n_steps
    return {
        "model": forecast.subject.model.name,
        "n_parameters": forecast.subject.model.n_parameters,
        "stack": forecast.stack,
        "device": forecast.device.name,
        **choice_json(forecast.choice, n_steps),
        "fits": forecast.fits,
        "mfu": forecast.choice.utilization(),
        "hfu": forecast.choice.utilization(hardware=True),
        "model_flop": float(estimate.model_flop),
        "hardware_flop": float(estimate.hardware_flop),
        "energy_j": None if estimate.energy_j is None else float(estimate.energy_j),
        "job_energy_j": None if whole is None or whole.joules is None else float(whole.joules),
        "rule_of_thumb": {"memory_bytes": forecast.rule.memory_bytes, "step_flop": forecast.rule.step_flop},
        "sources": dict(estimate.sources),
        "notes": list(forecast.subject.notes),
    }
