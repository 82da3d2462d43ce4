"""A serving plan on the terminal, in 100 columns: the winner, its table by batch, why, what changes would do."""

from __future__ import annotations

from math import isfinite

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from trainwright.plan.serving.answer import ServingAnswer
from trainwright.plan.serving.explain import MEANINGS, money
from trainwright.plan.serving.question import Offer
from trainwright.units import format_bytes, format_count, format_dollars, format_seconds

N_FRONT = 8
Column = tuple[str, str]
_FIGURES: tuple[Column, ...] = (
    ("batch", "right"),
    ("TTFT", "right"),
    ("TPOT", "right"),
    ("latency", "right"),
    ("req/s", "right"),
    ("tokens/s", "right"),
    ("$/M", "right"),
)


def serving_text(answer: ServingAnswer, *, in_full: bool = False) -> RenderableType:
    """Everything, for rich to print; ``in_full``: memory and the parts of a token's time too, as `estimate` shows."""
    best = answer.best
    parts: list[RenderableType] = [headline(answer), ""]
    if in_full:
        parts += [point_table([best]), "", parts_table(best), ""]
    else:
        parts += [offers_table(answer), ""]
    parts += [f"[dim]why[/dim]     {escape(sentence)}" for sentence in answer.sentences]
    parts += ["", f"[dim]{escape(best.describe())}, kept at a batch (sequences in flight a replica)[/dim]"]
    parts += [point_table(answer.by_batch)]
    if not in_full and len(answer.result.front) > 1:
        n = len(answer.result.front)
        parts += ["", f"[dim]Pareto front of TPOT, money and TTFT, {n} points, some of them[/dim]", front_table(answer)]
    if not in_full:
        parts += ["", "[dim]one change of the winner at a time[/dim]", changes_table(answer)]
    if answer.result.left_out:
        parts += ["", f"[dim]not looked at: {escape('; '.join(answer.result.left_out))}[/dim]"]
    return Group(*parts)


def headline(answer: ServingAnswer) -> str:
    """What was asked, and the size of the search."""
    question, result, best = answer.question, answer.result, answer.best
    told = f"{escape(question.model.name)} served by {question.stack.name}: {question.serving.describe()}"
    price = "" if best.dollars_per_hour is None else f", {format_dollars(best.dollars_per_hour)} an hour"
    looked = f"{format_count(result.n_replicas)} replicas, {format_count(result.n_points)} points"
    on = f"{best.n_devices} x {best.replica.device.name}{price}"
    return f"[bold]{told}[/bold]\n{question.goal} on {escape(on)}; {looked} in {format_seconds(result.seconds)}"


def offers_table(answer: ServingAnswer) -> Table:
    """The best offers, the winner first."""
    table = _table(("", "right"), ("replicas", "left"), ("on", "left"), *_FIGURES)
    for rank, one in enumerate(answer.result.ranking[: answer.question.n_shown], start=1):
        on = f"{one.n_devices}x{one.replica.device.name}"
        table.add_row(str(rank), escape(one.describe()), escape(on), *figures(one))
    return table


def point_table(offers: tuple[Offer, ...] | list[Offer]) -> Table:
    """Batch against the times a request sees and what all replicas yield."""
    table = _table(*_FIGURES, ("in use", "right"), ("J/token", "right"))
    for one in offers:
        joules = "" if one.joules_per_token is None else f"{one.joules_per_token:.2g}"
        table.add_row(*figures(one), format_bytes(one.used_bytes), joules)
    return table


def figures(one: Offer) -> list[str]:
    """An offer's figures as texts, in the order of the columns."""
    times = [format_seconds(value) for value in (one.ttft_s, one.tpot_s, one.latency_s)]
    batch = f"{one.batch:.1f}" if one.batch < 10 and one.batch != int(one.batch) else f"{one.batch:.0f}"
    return [batch, *times, f"{one.requests_per_s:.3g}", f"{one.tokens_per_s:,.0f}", money(one)]


def parts_table(one: Offer) -> Table:
    """What a token's time and a device's memory consist of."""
    table = _table(("a token", "left"), ("", "right"), ("   memory of a device", "left"), ("", "right"))
    times = [(MEANINGS[name], format_seconds(seconds)) for name, seconds in one.parts.items() if seconds > 0]
    held = one.room
    memory = [
        ("weights", held.weights),
        ("passes", held.activations),
        ("engine", held.reserve),
        (f"cache, {one.most:.0f} sequences", held.cache),
        ("left to others", one.replica.device.memory_bytes - held.capacity),
    ]
    sizes = [(f"   {name}", format_bytes(size)) for name, size in memory]
    for i in range(max(len(times), len(sizes))):
        left = times[i] if i < len(times) else ("", "")
        right = sizes[i] if i < len(sizes) else ("", "")
        table.add_row(*left, *right)
    return table


def front_table(answer: ServingAnswer) -> Table:
    """Points spread over the front, the fastest token first."""
    front = answer.result.front
    step = max((len(front) - 1) / (N_FRONT - 1), 1.0)
    chosen = [front[round(i * step)] for i in range(N_FRONT) if round(i * step) < len(front)]
    table = _table(("replicas", "left"), ("on", "left"), *_FIGURES)
    for one in chosen:
        table.add_row(escape(one.describe()), escape(f"{one.n_devices}x{one.replica.device.name}"), *figures(one))
    return table


def changes_table(answer: ServingAnswer) -> Table:
    """Each single change of the winner: what it would give, or why not."""
    table = _table(("change", "left"), ("replicas", "left"), ("TTFT", "right"), ("TPOT", "right"), ("$/M", "right"),
                   ("", "left"))  # fmt: skip
    for change in answer.changes:
        if change.offer is None:
            table.add_row(change.what, "", "", "", "", escape(change.refused or ""))
            continue
        one = change.offer
        times = [format_seconds(value) if isfinite(value) else "" for value in (one.ttft_s, one.tpot_s)]
        table.add_row(change.what, escape(one.describe()), *times, money(one), escape(change.refused or ""))
    return table


def _table(*columns: Column) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for name, side in columns:
        table.add_column(name, justify="left" if side == "left" else "right", overflow="fold")
    return table
