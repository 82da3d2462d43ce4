"""When each pipeline stage does what, by schedule: passes laid out one after another, waiting for their neighbours'.

A pass is (kind, micro-batch, chunk of the model that the stage holds). Sources: Huang et al., GPipe, arXiv:1811.06965;
Narayanan et al., arXiv:2104.04473 (1F1B, interleaved); Qi et al., arXiv:2401.10241 (ZB-H1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainwright.jobs.strategy import Schedule

Pass = tuple[str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something a stage does, from ``start_s`` for ``seconds``.

    ``kind``: forward, backward, weights (the second half of a zero-bubble backward), send, gradients or update.
    """

    stage: int
    kind: str
    label: str
    start_s: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """``forward_s``, ``backward_s``: of one micro-batch through all chunks of a stage; ``send_s``: between stages."""

    schedule: Schedule
    n_stages: int
    n_micro: int
    n_chunks: int
    forward_s: float
    backward_s: float
    send_s: float = 0.0

    def seconds(self, kind: str) -> float:
        """Of one pass of one chunk; zero-bubble schedules halve the backward."""
        whole = self.forward_s if kind == "forward" else self.backward_s
        return whole / self.n_chunks / (2.0 if self.schedule == "zero_bubble" and kind != "forward" else 1.0)


def events(pipe: Pipeline) -> Iterator[Event]:
    """Every pass of every stage, with the sends that it waited for.

    >>> two = Pipeline(schedule="1f1b", n_stages=2, n_micro=2, n_chunks=1, forward_s=1.0, backward_s=2.0)
    >>> [(e.kind[0] + e.label, e.start_s) for e in events(two) if e.stage == 1]
    [('f1', 1.0), ('b1', 2.0), ('f2', 4.0), ('b2', 5.0)]
    """
    done: dict[tuple[Pass, int], float] = {}
    queues = [order(pipe, stage) for stage in range(pipe.n_stages)]
    free, owed = [0.0] * pipe.n_stages, [list[int]() for _ in range(pipe.n_stages)]
    while any(queues):
        stage = _next(pipe, queues, free, done)
        ready = _ready(pipe, queues[stage][0], stage, done)
        assert ready is not None  # _next picks a stage whose pass is known to be ready
        waiting, seconds = owed[stage], pipe.seconds("weights")
        while waiting and (len(waiting) > stage or free[stage] + seconds <= ready):
            yield Event(
                stage=stage, kind="weights", label=str(waiting.pop(0) + 1), start_s=free[stage], seconds=seconds
            )
            free[stage] += seconds
        now = queues[stage].pop(0)
        yield from _passed(pipe, now, stage, max(free[stage], ready), ready)
        free[stage] = done[now, stage] = max(free[stage], ready) + pipe.seconds(now[0])
        if pipe.schedule == "zero_bubble" and now[0] == "backward":
            waiting.append(now[1])
    for stage, waiting in enumerate(owed):
        for index, micro in enumerate(waiting):
            start = free[stage] + index * pipe.seconds("weights")
            yield Event(
                stage=stage, kind="weights", label=str(micro + 1), start_s=start, seconds=pipe.seconds("weights")
            )


def _passed(pipe: Pipeline, now: Pass, stage: int, start_s: float, ready_s: float) -> Iterator[Event]:
    kind, micro, _ = now
    if pipe.send_s > 0 and ready_s > 0 and _before(pipe, now, stage)[1] != stage:
        yield Event(stage=stage, kind="send", label=str(micro + 1), start_s=ready_s - pipe.send_s, seconds=pipe.send_s)
    yield Event(stage=stage, kind=kind, label=str(micro + 1), start_s=start_s, seconds=pipe.seconds(kind))


def _next(pipe: Pipeline, queues: list[list[Pass]], free: list[float], done: dict[tuple[Pass, int], float]) -> int:
    """The stage whose next pass can start the earliest."""
    starts = []
    for stage, queue in enumerate(queues):
        ready = _ready(pipe, queue[0], stage, done) if queue else None
        starts.append(float("inf") if ready is None else max(free[stage], ready))
    return starts.index(min(starts))


def order(pipe: Pipeline, stage: int) -> list[Pass]:
    """The passes of a stage in the order it does them: forwards ahead, then one of each, then what is left.

    >>> four = Pipeline(schedule="gpipe", n_stages=4, n_micro=2, n_chunks=1, forward_s=1.0, backward_s=2.0)
    >>> [kind for kind, _, _ in order(four, 0)]
    ['forward', 'forward', 'backward', 'backward']
    """
    total = pipe.n_micro * pipe.n_chunks
    ahead = pipe.n_stages - stage - 1
    if pipe.schedule == "interleaved":
        ahead = 2 * ahead + (pipe.n_chunks - 1) * pipe.n_stages
    ahead = total if pipe.schedule == "gpipe" else min(ahead, total)
    places = [_place(pipe, step) for step in range(total)]
    forwards: list[Pass] = [("forward", micro, chunk) for micro, chunk in places]
    backwards: list[Pass] = [("backward", micro, pipe.n_chunks - 1 - chunk) for micro, chunk in places]
    steady = [one for pair in zip(forwards[ahead:], backwards, strict=False) for one in pair]
    return [*forwards[:ahead], *steady, *backwards[total - ahead :]]


def _place(pipe: Pipeline, step: int) -> tuple[int, int]:
    """(micro-batch, chunk) of a stage's n-th pass: rounds of as many micro-batches as stages, chunk by chunk."""
    within = step % (pipe.n_stages * pipe.n_chunks)
    micro = step // (pipe.n_stages * pipe.n_chunks) * pipe.n_stages + within % pipe.n_stages
    return (micro, within // pipe.n_stages) if pipe.n_chunks > 1 else (step, 0)


def _before(pipe: Pipeline, now: Pass, stage: int) -> tuple[Pass, int] | tuple[None, int]:
    """The pass that this one waits for, and its stage; none for what starts the step."""
    kind, micro, chunk = now
    last = pipe.n_stages - 1
    if kind == "forward":
        if stage > 0:
            return ("forward", micro, chunk), stage - 1
        return (("forward", micro, chunk - 1), last) if chunk > 0 else (None, stage)
    if stage < last:
        return ("backward", micro, chunk), stage + 1
    if chunk < pipe.n_chunks - 1:
        return ("backward", micro, chunk + 1), 0
    return ("forward", micro, chunk), stage


def _ready(pipe: Pipeline, now: Pass, stage: int, done: dict[tuple[Pass, int], float]) -> float | None:
    """When what a pass waits for has arrived; None when that is not known yet."""
    before, where = _before(pipe, now, stage)
    if before is None:
        return 0.0
    if (before, where) not in done:
        return None
    return done[before, where] + (pipe.send_s if where != stage else 0.0)
