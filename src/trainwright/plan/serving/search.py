"""Every legal replica costed at the rate and limits asked for: what carries them, and what came nearest."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.serving.corrections import scales_of
from trainwright.cost.serving.point import Points, Service, by_batch, by_rate
from trainwright.cost.serving.replica import Replica
from trainwright.cost.serving.room import Room, most_sequences, room
from trainwright.jobs.serving import Serving
from trainwright.plan.pareto import front
from trainwright.plan.pins import allowed, pinned_values
from trainwright.plan.serving.question import Offer, ServingQuestion
from trainwright.plan.serving.space import replicas

Column = NDArray[np.float64]
MANY_CANDIDATES = 500
"""Beyond so many replicas, pipelines are looked at only where they are needed."""

MANY_REPLICAS = 64
"""Beyond so many, counts of replicas are tried in steps of a tenth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """A replica that fits, with its room, the sequences it holds, and how many of it the devices make."""

    cluster: str
    service: Service
    room: Room
    most: float
    counts: tuple[int, ...]
    curve: Points


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingResult:
    """Offers that keep the limits, best first; those that miss one, nearest first; replicas that do not fit.

    ``front``: offers that nothing beats in time a token, money a token and time to the first token at once.
    ``left_out``: what was not looked at.
    """

    ranking: tuple[Offer, ...]
    nearest: tuple[Offer, ...]
    front: tuple[Offer, ...]
    too_large: tuple[tuple[str, Replica, Room], ...]
    n_replicas: int
    n_points: int
    seconds: float
    left_out: tuple[str, ...]


def search(question: ServingQuestion) -> ServingResult:
    """All of it: legal replicas, memory first, then the operating points of what fits."""
    started = time.perf_counter()
    found, too_large, left_out = _fitting(question)
    offers = [offer for fitting in found for offer in operating(question, fitting)]
    good = [offer for offer in offers if not offer.missed]
    at_rate = question.serving.rate is not None
    good.sort(key=lambda offer: (offer.figure(question.goal, at_rate=at_rate), offer.latency_s))
    missed = sorted((offer for offer in offers if offer.missed), key=lambda o: (len(o.missed), _shortfall(o, question)))
    points = [point for fitting in found for point in _spread(question, fitting)]
    return ServingResult(
        ranking=tuple(good),
        nearest=tuple(missed),
        front=_front(points),
        too_large=tuple(too_large),
        n_replicas=len(found) + len(too_large),
        n_points=len(points) + len(offers),
        seconds=time.perf_counter() - started,
        left_out=left_out,
    )


def _fitting(question: ServingQuestion) -> tuple[list[Fitting], list[tuple[str, Replica, Room]], tuple[str, ...]]:
    """What fits. In a large space no pipelines where the weights fit a group without, unless asked for."""
    groups = [(cluster, group) for cluster in question.clusters for group in cluster.groups]
    every = [(cluster, one) for cluster, group in groups for one in replicas(question, group)]
    few = len(every) <= MANY_CANDIDATES or pinned_values(question.pins, "pp") is not None
    found: list[Fitting] = []
    too_large, n_skipped = [], 0
    for cluster, replica in sorted(every, key=lambda each: each[1].pp):
        if replica.pp > 1 and not few and _without_stages(found, replica):
            n_skipped += 1
            continue
        group, held = replica.group, room(replica)
        name = cluster.name if len(cluster.groups) == 1 else f"{group.n_devices}x{group.device.name}"
        one = fitting(question, name, replica, held)
        if one is None:
            too_large.append((name, replica, held))
        else:
            found.append(one)
    told = f"{n_skipped} replicas in pipeline stages, where the weights fit without (pin pp to see them)"
    return found, too_large, (told,) if n_skipped else ()


def _without_stages(found: Iterable[Fitting], replica: Replica) -> bool:
    """Whether some replica without a pipeline holds these weights on this group."""
    alike = (one.service.replica for one in found if one.service.replica.group is replica.group)
    return any(one.stored == replica.stored and one.pp == 1 for one in alike)


def fitting(question: ServingQuestion, cluster: str, replica: Replica, held: Room) -> Fitting | None:
    """The replica if at least one of the longest requests fits, with how many of it the devices make."""
    longest = max(question.serving.mix, key=lambda kind: kind.prompt + kind.output)
    if held.cache <= 0 or most_sequences(replica, (longest,), held) < 1.0:
        return None
    most = min(most_sequences(replica, question.serving.mix, held), float(replica.stack.max_batch * replica.ep))
    if question.serving.batch is not None:
        most = min(most, float(question.serving.batch))
    devices = min(replica.group.n_devices, question.max_devices or replica.group.n_devices)
    counts = _counts(question, devices // replica.n_devices)
    if not counts:
        return None
    service = Service(replica=replica, mix=question.serving.mix, scales=scales_of(replica))
    curve = by_batch(service, _batches(max(most, 1.0)))
    return Fitting(cluster=cluster, service=service, room=held, most=max(most, 1.0), counts=counts, curve=curve)


def _counts(question: ServingQuestion, most: int) -> tuple[int, ...]:
    pinned = pinned_values(question.pins, "replicas")
    if pinned is not None:
        return tuple(sorted(int(count) for count in pinned if int(count) <= most))
    tried = {*range(1, min(most, MANY_REPLICAS) + 1), most}
    count = float(MANY_REPLICAS)
    while (count := count * 1.1) < most:
        tried.add(int(count))
    return tuple(sorted(n for n in tried if 1 <= n <= most and allowed(question.pins, "replicas", n)))


def operating(question: ServingQuestion, one: Fitting) -> list[Offer]:
    """The fewest replicas that carry the rate within the limits; without a rate all of them, at their best batch."""
    serving = question.serving
    if serving.rate is None:
        points = one.curve
        kept = np.array([not missed(serving, points, i) for i in range(len(points.batch))])
        best = int(np.flatnonzero(kept)[np.argmax(points.tokens_per_s[kept])]) if kept.any() else 0
        return [offer(serving, one, one.counts[-1], (points, best))]
    rates = [serving.rate / count for count in one.counts]
    points = by_rate(one.service, rates, one.curve)
    kept = np.array([not missed(serving, points, i) for i in range(len(rates))])
    chosen = int(np.argmax(kept)) if kept.any() else len(rates) - 1
    return [offer(serving, one, one.counts[chosen], (points, chosen))]


def _batches(most: float) -> list[float]:
    return sorted({float(np.floor(batch)) for batch in np.geomspace(1.0, max(most, 1.0), 40)})


def missed(serving: Serving, points: Points, index: int) -> tuple[str, ...]:
    """The limits that a point misses, by name; "rate" where the queue has no end."""
    values = {"ttft": points.ttft_s[index], "tpot": points.tpot_s[index], "latency": points.latency_s[index]}
    over = [name for name, limit in serving.limits.items() if values[name] > limit]
    return (*(["rate"] if np.isinf(points.queue_s[index]) else []), *over)


def offer(serving: Serving, one: Fitting, count: int, at: tuple[Points, int]) -> Offer:
    """One point of so many replicas as an offer."""
    points, i = at
    joules = points.joules_per_token
    return Offer(
        cluster=one.cluster,
        replica=one.service.replica,
        n_replicas=count,
        room=one.room,
        most=one.most,
        batch=float(points.batch[i]),
        queue_s=float(points.queue_s[i]),
        ttft_s=float(points.ttft_s[i]),
        tpot_s=float(points.tpot_s[i]),
        latency_s=float(points.latency_s[i]),
        requests_per_s=float(points.requests_per_s[i]) * count,
        tokens_per_s=float(points.tokens_per_s[i]) * count,
        joules_per_token=None if joules is None else float(joules[i]),
        parts={name: float(column[i]) for name, column in points.parts.items()},
        missed=missed(serving, points, i),
    )


def _shortfall(one: Offer, question: ServingQuestion) -> float:
    """How far an offer is from what was asked: the largest ratio over a limit, or of the rate over what it carries."""
    values = {"ttft": one.ttft_s, "tpot": one.tpot_s, "latency": one.latency_s}
    ratios = [values[name] / limit for name, limit in question.serving.limits.items()]
    ratios.append((question.serving.rate or 0.0) / one.requests_per_s)
    return max(ratio if np.isfinite(ratio) else 1e9 for ratio in ratios)


def ladder_of(question: ServingQuestion, one: Fitting, count: int, batches: list[float]) -> list[Offer]:
    """Offers of so many replicas kept at each of these batches."""
    points = by_batch(one.service, batches)
    return [offer(question.serving, one, count, (points, i)) for i in range(len(batches))]


def _spread(question: ServingQuestion, one: Fitting) -> list[Offer]:
    """Some points of the curve, for the front."""
    shown = np.unique(np.linspace(0, len(one.curve.batch) - 1, 10).astype(int))
    return [offer(question.serving, one, one.counts[-1], (one.curve, int(i))) for i in shown]


def _front(points: list[Offer]) -> tuple[Offer, ...]:
    """Points that no other is at least as good as in time a token, money a token and time to the first."""
    if not points:
        return ()
    money = np.array([p.dollars_per_million or p.n_devices / p.tokens_per_s for p in points])
    order = front(np.array([p.tpot_s for p in points]), money, np.array([p.ttft_s for p in points]))
    return tuple(points[i] for i in order)
