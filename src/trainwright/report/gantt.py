"""A step's timeline drawn by stage: forward and backward of every micro-batch, bubbles, gradients, the update.

The schedule is laid out event by event with the stage's mean times; it shows the shape, while the estimate's parts
give the seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from trainwright.plan.choice import Choice
from trainwright.report.svg import WIDTH
from trainwright.units import format_seconds

MOST_STAGES = 16
MOST_MICRO_BATCHES = 24
_LEFT, _ROW = 64, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something a stage does: ``kind`` forward, backward, gradients or update, from ``start_s`` for ``seconds``."""

    stage: int
    kind: str
    label: str
    start_s: float
    seconds: float


def pipeline_gantt(choice: Choice, global_batch: int) -> str:
    """The drawing, of at most so many stages and micro-batches; longer pipelines are shown by their first ones."""
    strategy, time = choice.strategy, choice.estimate.time
    n_micro = max(1, int(global_batch // (strategy.dp * strategy.micro_batch)))
    stages, shown = min(int(strategy.pp), MOST_STAGES), min(n_micro, MOST_MICRO_BATCHES)
    forward_s, backward_s = _passes(choice, n_micro)
    events = list(one_f_one_b(stages, shown, forward_s, backward_s))
    end = max(event.start_s + event.seconds for event in events)
    for name in ("dp_communication", "optimizer"):
        seconds = float(time.get(name, 0.0))
        if seconds > 0:
            label = "gradients" if name == "dp_communication" else "update"
            events += [Event(stage=s, kind=label, label=label, start_s=end, seconds=seconds) for s in range(stages)]
            end += seconds
    cut = [f"{shown} of {n_micro} micro-batches"] if shown < n_micro else []
    cut += [f"{stages} of {strategy.pp} stages"] if stages < strategy.pp else []
    note = f" ({', '.join(cut)} drawn)" if cut else ""
    return _draw(events, stages, end, f"Forward (blue), backward (orange), idle (empty){note}")


def _passes(choice: Choice, n_micro: int) -> tuple[float, float]:
    """Mean seconds of one micro-batch's forward and backward on the slowest stage, communication shared out."""
    time = {name: float(seconds) for name, seconds in choice.estimate.time.items()}
    head = time.get("head_loss", 0.0)
    shared = sum(time.get(f"{axis}_communication", 0.0) for axis in ("tp", "cp", "ep")) + time.get("dispatch", 0.0)
    forward = time.get("forward", 0.0) + head / 3.0 + shared / 2.0
    backward = time.get("backward", 0.0) + time.get("recompute", 0.0) + 2.0 * head / 3.0 + shared / 2.0
    return forward / n_micro, backward / n_micro


def one_f_one_b(n_stages: int, n_micro: int, forward_s: float, backward_s: float) -> Iterator[Event]:
    """Events of the 1F1B schedule: each stage warms up, alternates, drains; a pass waits for its neighbour's.

    >>> [(e.kind[0] + e.label, e.start_s) for e in one_f_one_b(2, 2, 1.0, 2.0) if e.stage == 1]
    [('f1', 1.0), ('b1', 2.0), ('f2', 4.0), ('b2', 5.0)]
    """
    done: dict[tuple[str, int, int], float] = {}
    seconds = {"forward": forward_s, "backward": backward_s}
    queues = [_order(stage, n_stages, n_micro) for stage in range(n_stages)]
    free = [0.0] * n_stages
    while any(queues):
        for stage, queue in enumerate(queues):
            while queue and (ready := _ready(*queue[0], stage, n_stages, done)) is not None:
                kind, micro = queue.pop(0)
                start = max(free[stage], ready)
                done[kind, micro, stage] = free[stage] = start + seconds[kind]
                yield Event(stage=stage, kind=kind, label=str(micro + 1), start_s=start, seconds=seconds[kind])


def _order(stage: int, n_stages: int, n_micro: int) -> list[tuple[str, int]]:
    warm = min(n_stages - stage - 1, n_micro)
    order = [("forward", micro) for micro in range(warm)]
    for micro in range(n_micro - warm):
        order += [("forward", warm + micro), ("backward", micro)]
    return order + [("backward", micro) for micro in range(n_micro - warm, n_micro)]


def _ready(kind: str, micro: int, stage: int, n_stages: int, done: dict[tuple[str, int, int], float]) -> float | None:
    """When what a pass waits for is done; None when it is not yet known."""
    if kind == "forward":
        return 0.0 if stage == 0 else done.get(("forward", micro, stage - 1))
    if stage == n_stages - 1:
        return done.get(("forward", micro, stage))
    return done.get(("backward", micro, stage + 1))


_COLOUR = {"forward": "c0", "backward": "c1", "gradients": "c2", "update": "c4"}


def _draw(events: list[Event], n_stages: int, end_s: float, title: str) -> str:
    height = _ROW * n_stages + 56
    scale = (WIDTH - _LEFT - 16) / end_s
    body = ""
    for stage in range(n_stages):
        body += f'<text class="tick" x="{_LEFT - 8}" y="{_ROW * stage + 38}" text-anchor="end">stage {stage + 1}</text>'
    for event in events:
        x, y = _LEFT + event.start_s * scale, _ROW * event.stage + 24
        told = escape(f"{event.kind} {event.label}: {format_seconds(event.seconds)}")
        body += (
            f'<rect class="fill {_COLOUR[event.kind]}" x="{x:.1f}" y="{y}" '
            f'width="{max(event.seconds * scale - 0.5, 0.3):.1f}" height="{_ROW - 4}"><title>{told}</title></rect>'
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
