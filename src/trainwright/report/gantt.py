"""A step's timeline drawn by stage: passes of every micro-batch by the plan's schedule, sends, gradients, the update.

The schedule is laid out event by event with the stage's mean times (schedule.py); it shows the shape, while the
estimate's parts give the seconds.
"""

from __future__ import annotations

from html import escape

from trainwright.plan.choice import Choice
from trainwright.report.schedule import Event, Pipeline, events
from trainwright.report.svg import WIDTH
from trainwright.units import format_seconds

MOST_STAGES = 16
MOST_MICRO_BATCHES = 24
_LEFT, _ROW = 64, 20


def pipeline_gantt(choice: Choice, global_batch: int) -> str:
    """The drawing, of at most so many stages and micro-batches; longer pipelines are shown by their first ones."""
    strategy, time = choice.strategy, choice.estimate.time
    n_micro = max(1, int(global_batch // (strategy.dp * strategy.micro_batch)))
    pipe = drawn(choice, n_micro)
    found = list(events(pipe))
    end = max(event.start_s + event.seconds for event in found)
    for name, label in (("dp_communication", "gradients"), ("optimizer", "update")):
        seconds = float(time.get(name, 0.0))
        if seconds > 0:
            found += [Event(stage=s, kind=label, label="", start_s=end, seconds=seconds) for s in range(pipe.n_stages)]
            end += seconds
    cut = [f"{pipe.n_micro} of {n_micro} micro-batches"] if pipe.n_micro < n_micro else []
    cut += [f"{pipe.n_stages} of {strategy.pp} stages"] if pipe.n_stages < strategy.pp else []
    note = f" ({', '.join(cut)} drawn)" if cut else ""
    kinds = [f"{kind} ({colour})" for kind, (_, colour) in _COLOUR.items() if any(e.kind == kind for e in found)]
    name = strategy.schedule.replace("_", "-") if strategy.pp > 1 else "no pipeline"
    return _draw(found, pipe.n_stages, end, f"{name}: {', '.join(kinds)}, idle (empty){note}")


def drawn(choice: Choice, n_micro: int) -> Pipeline:
    """The pipeline as far as it is drawn; interleaved schedules go in rounds of as many micro-batches as stages."""
    strategy, (forward_s, backward_s) = choice.strategy, _passes(choice, n_micro)
    stages, shown = min(int(strategy.pp), MOST_STAGES), min(n_micro, MOST_MICRO_BATCHES)
    is_interleaved = strategy.schedule == "interleaved" and stages > 1
    chunks = int(strategy.virtual_stages) if is_interleaved else 1
    sends = 2.0 * n_micro * chunks + 2.0 * (int(strategy.pp) - 1)
    return Pipeline(
        schedule=strategy.schedule,
        n_stages=stages,
        n_micro=max(stages, shown // stages * stages) if is_interleaved else shown,
        n_chunks=chunks,
        forward_s=forward_s,
        backward_s=backward_s,
        send_s=float(choice.estimate.time.get("pp_communication", 0.0)) / sends,
    )


def _passes(choice: Choice, n_micro: int) -> tuple[float, float]:
    """Mean seconds of one micro-batch's forward and backward on the slowest stage, communication shared out."""
    time = {name: float(seconds) for name, seconds in choice.estimate.time.items()}
    head = time.get("head_loss", 0.0)
    shared = sum(time.get(f"{axis}_communication", 0.0) for axis in ("tp", "cp", "ep")) + time.get("dispatch", 0.0)
    forward = time.get("forward", 0.0) + head / 3.0 + shared / 2.0
    backward = time.get("backward", 0.0) + time.get("recompute", 0.0) + 2.0 * head / 3.0 + shared / 2.0
    return forward / n_micro, backward / n_micro


_COLOUR = {
    "forward": ("c0", "blue"),
    "backward": ("c1", "orange"),
    "weights": ("c3", "red"),
    "send": ("c5", "olive"),
    "gradients": ("c2", "green"),
    "update": ("c4", "violet"),
}


def _draw(events: list[Event], n_stages: int, end_s: float, title: str) -> str:
    height = _ROW * n_stages + 56
    scale = (WIDTH - _LEFT - 16) / end_s
    body = ""
    for stage in range(n_stages):
        body += f'<text class="tick" x="{_LEFT - 8}" y="{_ROW * stage + 38}" text-anchor="end">stage {stage + 1}</text>'
    for event in events:
        x, y = _LEFT + event.start_s * scale, _ROW * event.stage + 24
        tall = 4 if event.kind == "send" else _ROW - 4
        told = escape(f"{event.kind} {event.label}: {format_seconds(event.seconds)}")
        body += (
            f'<rect class="fill {_COLOUR[event.kind][0]}" x="{x:.1f}" y="{y}" '
            f'width="{max(event.seconds * scale - 0.5, 0.3):.1f}" height="{tall}"><title>{told}</title></rect>'
        )
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _LEFT + share * end_s * scale
        body += f'<text class="tick" x="{x:.1f}" y="{height - 12}" text-anchor="middle">'
        body += f"{format_seconds(share * end_s) if share else '0'}</text>"
    name = escape(title)
    return (
        f'<figure><figcaption>{name}</figcaption><svg role="img" aria-label="{name}" viewBox="0 0 {WIDTH} {height}" '
        f'xmlns="http://www.w3.org/2000/svg">{body}</svg></figure>'
    )
