"""A serving plan as one page: offers, time and throughput by batch, a token's time and memory by part, the front."""

from __future__ import annotations

from trainwright.plan.serving.answer import ServingAnswer
from trainwright.plan.serving.explain import MEANINGS, money
from trainwright.plan.serving.question import Offer
from trainwright.report.page import page, paragraphs, table
from trainwright.report.serving_text import figures
from trainwright.report.svg import Axis, Bar, Series, bar_chart, line_chart
from trainwright.units import format_bytes, format_count, format_seconds

_FIGURES = ("batch", "TTFT", "TPOT", "latency", "requests/s", "tokens/s", "$/M tokens")
_SECONDS = Axis(label="seconds a token (TPOT)", format=format_seconds, log=True)
_BATCH = Axis(label="sequences in flight a replica", log=True)


def serving_html(answer: ServingAnswer) -> str:
    """The whole page, self-contained."""
    best, question = answer.best, answer.question
    lead = f"{question.serving.describe()}: {best.describe()} on {best.n_devices} x {best.replica.device.name}"
    changes = [
        (one.what, *(figures(one.offer)[1:3] if one.offer else ("", "")), money(one.offer) if one.offer else "",
         one.refused or "")
        for one in answer.changes
    ]  # fmt: skip
    offers = answer.result.ranking[: question.n_shown]
    return page(
        f"Serving {question.model.name} with {question.stack.name}",
        lead,
        (
            ("Why", paragraphs(answer.sentences)),
            ("Offers", table(("replicas", "device", *_FIGURES), [_row(one) for one in offers])),
            ("By batch", _by_batch(answer) + table(_FIGURES, [figures(one) for one in answer.by_batch])),
            ("Where a token's time goes", _time(answer)),
            ("Memory", _memory(best)),
            ("Latency against throughput", _front(answer)),
            ("One change at a time", table(("change", "TTFT", "TPOT", "$/M tokens", ""), changes)),
            ("Not looked at", paragraphs(answer.result.left_out)),
        ),
    )


def _row(one: Offer) -> tuple[str, ...]:
    return (one.describe(), f"{one.n_devices}x{one.replica.device.name}", *figures(one))


def _by_batch(answer: ServingAnswer) -> str:
    batches = [one.batch for one in answer.by_batch]
    times = [
        Series(name="first token", x=batches, y=[one.ttft_s for one in answer.by_batch]),
        Series(name="further token", x=batches, y=[one.tpot_s for one in answer.by_batch]),
    ]
    rates = [Series(name="tokens/s", x=batches, y=[one.tokens_per_s for one in answer.by_batch])]
    return line_chart(
        "Times by batch", times, _BATCH, Axis(label="time", format=format_seconds, log=True)
    ) + line_chart(
        "Tokens a second of all replicas by batch", rates, _BATCH, Axis(label="tokens/s", format=format_count)
    )


def _time(answer: ServingAnswer) -> str:
    bars = [
        Bar(label=f"batch {one.batch:.0f}", parts=[(MEANINGS[name], s) for name, s in one.parts.items() if s > 0])
        for one in answer.by_batch
    ]
    return bar_chart("Seconds of a further token by part", bars, format_seconds)


def _memory(best: Offer) -> str:
    held = best.room
    parts = [("weights", held.weights), ("passes", held.activations), ("engine", held.reserve), ("cache", held.cache)]
    limit = (format_bytes(best.replica.device.memory_bytes), best.replica.device.memory_bytes)
    return bar_chart("Memory of a device", [Bar(label="device", parts=parts)], format_bytes, limit)


def _front(answer: ServingAnswer) -> str:
    """Points that nothing beats: tokens a second and device against seconds a token."""
    front, best = answer.result.front, answer.best
    points = Series(
        name="front", x=[p.tpot_s for p in front], y=[p.tokens_per_s / p.n_devices for p in front], joined=False
    )
    chosen = Series(name="chosen", x=[best.tpot_s], y=[best.tokens_per_s / best.n_devices], joined=False)
    rate = Axis(label="tokens/s a device", format=format_count, log=True)
    return line_chart("Tokens a second of a device against seconds a token", [points, chosen], _SECONDS, rate)
