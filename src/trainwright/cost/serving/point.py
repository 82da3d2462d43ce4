"""Operating points of one replica: what a request sees and what the replica yields, by batch or by rate of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.energy import BUSY_SHARE, HOST_SHARE, IDLE_SHARE, TALK_SHARE
from trainwright.cost.serving.compose import ServingScales, parts_s, pass_s
from trainwright.cost.serving.load import means, prefill, prompt_passes, steady
from trainwright.cost.serving.queue import many_servers_wait_s, single_server_wait_s
from trainwright.cost.serving.replica import Replica
from trainwright.jobs.serving import Requests

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Operating points of one replica, as columns of one length.

    ``batch``: sequences in flight. ``ttft_s``: from arrival to the first token, the wait in the queue (``queue_s``)
    included; ``tpot_s``: mean time for each further token, with the pauses that others' prompts make;
    ``latency_s``: a mean request from arrival to its end. ``requests_per_s``, ``tokens_per_s`` (output) of the replica.
    ``parts``: seconds of one tpot, by what takes them. ``joules_per_token``: of an output token, prompts and hosts
    included; None where nobody knows the device's power.
    """

    batch: Column
    requests_per_s: Column
    tokens_per_s: Column
    queue_s: Column
    ttft_s: Column
    tpot_s: Column
    latency_s: Column
    parts: Mapping[str, Column]
    joules_per_token: Column | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A replica with the requests it gets, and its corrections."""

    replica: Replica
    mix: tuple[Requests, ...]
    scales: ServingScales


def by_batch(service: Service, batches: Sequence[float]) -> Points:
    """The replica kept at each of these batches: a new request comes as one ends, and waits for nothing but a pass."""
    batch = np.asarray(batches, dtype=float)
    parts, first = _parts(service, batch), _first_s(service, batch)
    output = means(service.mix).output
    tpot = np.asarray(sum(parts.values()))
    rate = batch / (tpot * output)
    ttft = 0.5 * tpot + first
    return Points(
        batch=batch,
        requests_per_s=rate,
        tokens_per_s=rate * output,
        queue_s=np.zeros_like(batch),
        ttft_s=ttft,
        tpot_s=tpot,
        latency_s=ttft + (output - 1.0) * tpot,
        parts=parts,
        joules_per_token=_joules(service.replica, parts, rate * output, rate * output),
    )


def by_rate(service: Service, rates: Sequence[float], curve: Points) -> Points:
    """The replica under Poisson arrivals at each of these rates; ``curve``: its points by batch, up to the largest.

    Little's law gives the batch, batch = rate * output * tpot(batch), by interpolation; beyond the rate of the largest
    the queue grows without end. A request waits for a place (M/G/k over places), for the prompts before it (M/G/1, each
    taking its share of a full pass), and for the pass under way. Sources: Little, Oper. Res. 9(3), 1961;
    cost/serving/queue.py.
    """
    rate, mean = np.asarray(rates, dtype=float), means(service.mix)
    order = np.argsort(curve.requests_per_s)  # a few tokens more may need one more wave of tiles
    yields, grid = curve.requests_per_s[order], curve.batch[order]
    batch = np.interp(rate, np.concatenate([[0.0], yields]), np.concatenate([[0.0], grid]))
    parts = {name: np.interp(batch, curve.batch, column) for name, column in curve.parts.items()}
    tpot = np.asarray(sum(parts.values()))
    spread = np.sqrt(max(mean.square / mean.prompt**2 - 1.0, 0.0))
    places = many_servers_wait_s(rate, tpot * mean.output, np.max(curve.batch))
    prompts = single_server_wait_s(rate, _prompt_s(service), float(spread))
    queue = np.where(rate <= yields[-1], places + prompts, np.inf)
    served = np.minimum(rate, yields[-1])
    ttft = queue + np.interp(batch, curve.batch, curve.ttft_s)
    return Points(
        batch=batch,
        requests_per_s=served,
        tokens_per_s=served * mean.output,
        queue_s=queue,
        ttft_s=ttft,
        tpot_s=tpot,
        latency_s=ttft + (mean.output - 1.0) * tpot,
        parts=parts,
        joules_per_token=_joules(service.replica, parts, served * mean.output, batch / np.maximum(tpot, 1e-12)),
    )


def _parts(service: Service, batch: Column) -> dict[str, Column]:
    """Seconds of one further token by what takes them; prompts whose passes stop the others are one part."""
    parts: dict[str, Column] = {}
    for index, each in enumerate(steady(service.replica, batch, service.mix)):
        found = parts_s(each.one, service.scales)
        if index:
            found = {"prompts": sum(found.values(), start=0.0)}
        for name, seconds in found.items():
            parts[name] = np.asarray(seconds) * each.count + np.zeros_like(batch)
    return parts


def _first_s(service: Service, batch: Column) -> Column:
    """Seconds of a prompt's own passes; where they are shared, with the decoding sequences in them."""
    replica, mean = service.replica, means(service.mix)
    here = batch / (replica.ep * replica.pp) if replica.stack.mixed else 0.0
    one = prefill(replica, 1.0, mean.prompt, beside=here, context=mean.context)
    seconds: Column = np.asarray(pass_s(one.one, service.scales) * one.count) + np.zeros_like(batch)
    return seconds


def _prompt_s(service: Service) -> float:
    """Seconds that one more prompt keeps the replica busy: its share of a pass full of prompts, over the stages."""
    replica = service.replica
    one = prompt_passes(replica, means(service.mix))
    return float(pass_s(one.one, service.scales) * one.count * replica.imbalance / (replica.pp * replica.ep))


_POWER = {
    "weights": BUSY_SHARE["optimizer"], "attention": BUSY_SHARE["optimizer"], "head": BUSY_SHARE["optimizer"],
    "stream": BUSY_SHARE["optimizer"], "prompts": BUSY_SHARE["forward"], "communication": TALK_SHARE,
}  # fmt: skip
"""Share of the board power by part: decoding waits for memory as an optimizer does, prompts multiply (Patel et al.,
"Characterizing power management opportunities for LLMs in the cloud", ASPLOS 2024: prompts at the limit, tokens well
below it)."""


def _joules(replica: Replica, parts: Mapping[str, Column], rate: Column, most: Column) -> Column | None:
    """Joules of an output token: the power of its parts while passes run, the idle power between them."""
    if replica.device.power_w is None:
        return None
    total = np.asarray(sum(parts.values()))
    busy = sum(seconds * _POWER.get(name, IDLE_SHARE) for name, seconds in parts.items()) / total
    used = np.minimum(rate / np.maximum(most, 1e-12), 1.0)
    watts = replica.device.power_w * replica.n_devices * (1.0 + HOST_SHARE) * (used * busy + (1.0 - used) * IDLE_SHARE)
    return np.asarray(watts / np.maximum(rate, 1e-12))


def ladder(most: float) -> list[float]:
    """Batches worth showing: powers of two up to the most, and the most.

    >>> ladder(5.0)
    [1.0, 2.0, 4.0, 5.0]
    """
    steps = [2.0**n for n in range(int(np.floor(np.log2(max(most, 1.0)))) + 1)]
    return steps if steps[-1] >= np.floor(most) else [*steps, float(np.floor(most))]
