"""The kinds of a pass put together into seconds, each multiplied by its correction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainwright.cost.serving.forward import Pass
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingScales:
    """By what each kind of seconds is multiplied; 1 is what the formulas say."""

    products: Number = 1.0
    traffic: Number = 1.0
    experts: Number = 1.0
    attention: Number = 1.0
    cache: Number = 1.0
    stream: Number = 1.0
    kernels: Number = 1.0
    collectives: Number = 1.0
    step: Number = 1.0
    sequences: Number = 1.0


def parts_s(one: Pass, scales: ServingScales) -> dict[str, Number]:
    """Seconds of a pass by what takes them; they add up to the whole.

    max(arithmetic, traffic) of the layers' products, of experts and of the head; max(arithmetic, cache read) of
    attention; then streams, collectives and the host. Without graphs the host issues kernels beside the device, and
    ``dispatch`` is what it lags behind.
    """
    products, traffic = scales.products, scales.traffic
    dense = np.maximum(one.products * products, one.traffic * traffic)
    experts = np.maximum(one.expert_products * products, one.expert_traffic * traffic) * scales.experts
    parts: dict[str, Number] = {
        "weights": dense + experts,
        "head": np.maximum(one.head_products * products, one.head_traffic * traffic),
        "attention": np.maximum(one.attention * scales.attention, one.cache * scales.cache),
        "stream": one.stream * scales.stream,
        "communication": one.collectives * scales.collectives,
    }
    device: Number = sum(parts.values(), start=0.0)
    started = one.kernels * scales.kernels
    parts["dispatch"] = np.where(np.asarray(one.from_graph) > 0, started, np.maximum(started - device, 0.0))
    parts["host"] = one.step * scales.step + one.sequences * scales.sequences
    return parts


def pass_s(one: Pass, scales: ServingScales) -> Number:
    """Seconds of a pass.

    >>> float(pass_s(Pass(products=2.0, traffic=3.0, kernels=0.5), ServingScales(products=2.0)))
    4.5
    """
    total: Number = sum(parts_s(one, scales).values(), start=0.0)
    return total
