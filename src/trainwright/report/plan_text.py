"""A plan on the terminal, in 100 columns: the winner, what comes next, why, and what every change would do."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from trainwright.plan.answer import Answer
from trainwright.plan.chance import beats
from trainwright.plan.choice import Choice, describe
from trainwright.plan.explain import SURE
from trainwright.report.estimate import step_line
from trainwright.units import format_bytes, format_count, format_dollars, format_seconds

N_FRONT = 6


def plan_text(answer: Answer) -> RenderableType:
    """Everything, for rich to print."""
    parts: list[RenderableType] = [headline(answer), "", ranking_table(answer), ""]
    parts += [f"[dim]why[/dim]     {escape(sentence)}" for sentence in why(answer)]
    if answer.unlike:
        parts += ["", "[dim]what each group would do, on its own share of the batch and in one pipeline[/dim]"]
        parts += [f"  {escape(sentence)}" for sentence in answer.unlike]
    front = answer.result.front
    if len(front) > 1:
        parts += ["", f"[dim]Pareto front of time, money and memory, {len(front)} plans[/dim]", front_table(answer)]
    if answer.explanation.directions:
        parts += ["", "[dim]one change of the winner at a time[/dim]", directions_table(answer)]
    left_out = answer.result.left_out
    if left_out:
        parts += ["", f"[dim]not looked at: {escape('; '.join(left_out))}[/dim]"]
    parts += [f"[dim]{escape(text)}[/dim]" for text in answer.result.empty]
    return Group(*parts)


def headline(answer: Answer) -> str:
    """What was asked, and the size of the search."""
    subject, best, result = answer.question.subject, answer.best, answer.result
    on = escape(f"{best.strategy.n_devices} x {device_names(best)}")
    told = f"{escape(subject.model.name)}, batch {subject.batch}, {answer.question.stack}"
    looked = (
        f"{format_count(result.n_costed)} strategies costed in {format_seconds(result.seconds)}, "
        f"{format_count(result.n_timed)} fit"
    )
    return f"[bold]{told}[/bold]\n{answer.result.aim.goal} on {on}; {looked if result.seconds else 'priced as given'}"


def device_names(choice: Choice) -> str:
    """The device, or all of them in a cluster of unlike groups."""
    return " and ".join(dict.fromkeys(group.device.name for group in choice.cluster.groups))


def why(answer: Answer) -> tuple[str, ...]:
    """Sentences: the step and its interval, what limits it, memory, the runner-up, how sure."""
    explanation = answer.explanation
    sure = []
    if explanation.fits_probability is not None:
        sure.append(f"fits with probability {100 * explanation.fits_probability:.0f} %")
    if explanation.wins_probability is not None:
        sure.append(f"beats the runner-up with probability {100 * explanation.wins_probability:.0f} %")
    if explanation.ties:
        sure.append(f"{explanation.ties} of the shown are ties within the error, marked =")
    mfu = answer.best.utilization()
    step = step_line(answer.best, answer.question.subject.model.unit) + (
        "" if mfu is None else f", MFU {100 * mfu:.1f} %"
    )
    return (step, *explanation.sentences, *(("; ".join(sure),) if sure else ()))


def _columns(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index, name in enumerate(names):
        table.add_column(name, justify="left" if index <= 1 else "right", overflow="fold", no_wrap=index > 1)
    return table


def ranking_table(answer: Answer) -> Table:
    """The ranking, with whole-job time and money where the steps are known."""
    n_steps, best, goal = answer.result.aim.n_steps, answer.best, answer.result.aim.goal
    whole = ("job", "money") if n_steps else (f"{answer.question.subject.model.unit}/s", "$/step")
    table = _columns("", "strategy", "step", "vs best", "memory", *whole)
    several = len({choice.cluster.name for choice in answer.result.ranking}) > 1
    for number, choice in enumerate(answer.result.ranking, start=1):
        ratio = choice.figure(goal) / best.figure(goal)
        tie = "=" if number > 1 and beats(1.0, ratio) < SURE else " "
        name = describe(choice.strategy)
        if several:
            name = f"{choice.strategy.n_devices} x {device_names(choice)}: {name}"
        versus = "" if number == 1 else f"{100 * (ratio - 1):+.1f} %"
        table.add_row(
            f"{number}{tie}",
            escape(name),
            format_seconds(choice.step_s),
            versus,
            format_bytes(choice.occupied_bytes),
            *_whole(choice, n_steps),
            style="bold" if number == 1 else None,
        )
    return table


def _whole(choice: Choice, n_steps: float | None) -> tuple[str, str]:
    dollars = choice.dollars_per_step
    if n_steps is None:
        return (
            format_count(float(choice.estimate.tokens_per_s)),
            "-" if dollars is None else format_dollars(dollars),
        )
    return format_seconds(choice.step_s * n_steps), "-" if dollars is None else format_dollars(dollars * n_steps)


def front_table(answer: Answer) -> Table:
    """A few plans along the front, from the fastest to the smallest."""
    front = answer.result.front
    step = max(1, (len(front) - 1) / (N_FRONT - 1)) if len(front) > 1 else 1
    picked = sorted({round(i * step) for i in range(N_FRONT) if round(i * step) < len(front)})
    table = _columns("", "strategy", "step", "memory", "$/step")
    for index in picked:
        choice = front[index]
        dollars = choice.dollars_per_step
        table.add_row(
            "",
            escape(describe(choice.strategy)),
            format_seconds(choice.step_s),
            format_bytes(choice.occupied_bytes),
            "-" if dollars is None else format_dollars(dollars),
        )
    return table


def directions_table(answer: Answer) -> Table:
    """Every single change: refused, too large, slower, a tie."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True, style="dim")
    table.add_column("", overflow="fold")
    for direction in answer.explanation.directions:
        table.add_row(direction.change, direction.verdict, escape(direction.text))
    return table
