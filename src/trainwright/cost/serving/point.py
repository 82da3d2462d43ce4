"""Operating points of one replica: what a request sees and what the replica yields, by batch or by rate of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.energy import BUSY_SHARE, HOST_SHARE, IDLE_SHARE, TALK_SHARE
from trainwright.cost.serving.compose import ServingScales, parts_s, pass_s
from trainwright.cost.serving.load import Means, decode, means, prefill, steady, total_s
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
    tpot = total_s(steady(service.replica, batch, service.mix), service.scales) * np.ones_like(batch)
    return _points(service, batch, batch / (tpot * means(service.mix).output), np.zeros_like(batch))


def by_rate(service: Service, rates: Sequence[float], most: float) -> Points:
    """The replica under Poisson arrivals at each of these rates, with room for ``most`` sequences.

    Little's law gives the batch: batch = rate * output * tpot(batch), solved on a grid of batches; beyond the rate of a
    full batch the queue grows without end. A request waits for a place (M/G/k over places), for the prompts before it
    (M/G/1 over prompts), and for the pass under way. Sources: Little, Oper. Res. 9(3), 1961; cost/serving/queue.py.
    """
    replica, mix, scales = service.replica, service.mix, service.scales
    rate, mean = np.asarray(rates, dtype=float), means(mix)
    grid = np.unique(np.concatenate([np.geomspace(0.01, max(most, 0.02), 96), np.array([most])]))
    yields = grid / (total_s(steady(replica, grid, mix), scales) * mean.output)
    batch = np.where(rate <= yields[-1], np.interp(rate, yields, grid), most)
    tpot = total_s(steady(replica, batch, mix), scales)
    prompt_s = total_s([prefill(replica, 1.0, mean.prompt)], scales)
    stay_s = tpot * mean.output + prompt_s
    spread = np.sqrt(max(mean.square / mean.prompt**2 - 1.0, 0.0))
    servers = max(most, 1.0) * stay_s / np.maximum(tpot * mean.output, 1e-12)  # a place is freed while a prompt is read
    wait = many_servers_wait_s(rate, stay_s, servers) + single_server_wait_s(rate, prompt_s, float(spread))
    queue = np.where(rate <= yields[-1], wait, np.inf)
    return _points(service, batch, np.minimum(rate, yields[-1]), queue)


def _points(service: Service, batch: Column, rate: Column, queue: Column) -> Points:
    """The columns, given the batch, what it yields and what a request waits for."""
    replica, scales, mean = service.replica, service.scales, means(service.mix)
    running = steady(replica, batch, service.mix)
    parts: dict[str, Column] = {}
    for index, each in enumerate(running):
        found = parts_s(each.one, scales)
        if index:  # prompts that stop the decoding
            found = {"prompts": sum(found.values(), start=0.0)}
        for name, seconds in found.items():
            parts[name] = parts.get(name, 0.0) + np.asarray(seconds) * each.count + np.zeros_like(batch)
    tpot = np.asarray(sum(parts.values()))
    ttft = queue + 0.5 * tpot + _first_s(replica, mean, batch, scales)
    return Points(
        batch=batch,
        requests_per_s=rate,
        tokens_per_s=rate * mean.output,
        queue_s=queue,
        ttft_s=ttft,
        tpot_s=tpot,
        latency_s=ttft + (mean.output - 1.0) * tpot,
        parts=parts,
        joules_per_token=_joules(replica, parts, rate * mean.output, batch / np.maximum(tpot, 1e-12)),
    )


def _first_s(replica: Replica, mean: Means, batch: Column, scales: ServingScales) -> Column:
    """Seconds of a prompt's own passes; where they are shared, with the decoding sequences in them."""
    here = np.maximum(batch / (replica.ep * replica.pp), 0.0) if replica.stack.mixed else 0.0
    one = prefill(replica, 1.0, mean.prompt, beside=here, context=mean.context)
    seconds: Column = np.asarray(pass_s(one.one, scales) * one.count) + np.zeros_like(batch)
    return seconds


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


def single_stream_s(service: Service) -> float:
    """Seconds of one further token with nobody else there: the least a tpot can be."""
    one = decode(service.replica, 1.0, means(service.mix).context)
    return float(np.max(total_s([one], service.scales)))
