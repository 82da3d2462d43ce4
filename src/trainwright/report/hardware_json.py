"""Devices and links as JSON values: base units, absent where nobody says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from trainwright.cost.reference import DESCRIPTION, reference_precision, reference_tokens_per_s
from trainwright.hardware.link import Link
from trainwright.hardware.metrics import Metrics
from trainwright.hardware.prices import quotes
from trainwright.hardware.roofline import roofline


def hardware_json(found: Sequence[Metrics], links: Sequence[Link]) -> dict[str, Any]:
    """Everything known of each device and link."""
    return {
        "reference_step": DESCRIPTION,
        "devices": [device_json(one) for one in found],
        "links": [dataclasses.asdict(link) for link in links],
    }


def device_json(one: Metrics) -> dict[str, Any]:
    """One device: its catalogue figures and every metric."""
    device = one.device
    roof = roofline(device)
    return {
        **dataclasses.asdict(device),
        "date": one.date,
        "per_node": one.per_node,
        "network": one.network,
        "formula_flop_per_s": one.formula_flop_per_s,
        "best_matmuls": [dataclasses.asdict(best) for best in one.best_matmuls],
        "reference_tokens_per_s": reference_tokens_per_s(device),
        "reference_precision": reference_precision(device),
        "flop_per_joule": one.flop_per_joule,
        "link_latency_s": one.link_latency_s,
        "features": list(one.features),
        "price": None if one.price is None else dataclasses.asdict(one.price),
        "purchase": None if one.purchase is None else dataclasses.asdict(one.purchase),
        "quotes": [dataclasses.asdict(quote) for quote in quotes(device.name, kind=None)],
        "roofline": {**dataclasses.asdict(roof), "ridge_flop_per_byte": roof.ridge_flop_per_byte},
    }
