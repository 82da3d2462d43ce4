"""A way bytes travel between devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Collective = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "p2p"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCollective:
    """Times of one collective over ``n_ranks``, measured by size: interpolated in the logarithm of size."""

    n_ranks: int
    message_bytes: tuple[float, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link as one device sees it: bytes per second in one direction, and seconds per message.

    ``efficiency`` is the share of ``bytes_per_s`` that collectives reach with large messages.
    ``start_s``: least seconds of a collective that PyTorch starts on the hosts this link comes with, however small.
    ``half_bytes``: what the first chunks of a large message wait for, until all ranks are at work, in bytes.
    ``measured`` holds what a probe saw for each collective, and then goes before the formulas.
    """

    name: str
    bytes_per_s: float
    latency_s: float
    source: str
    efficiency: float = 1.0
    half_bytes: float = 0.0
    start_s: float = 0.0
    in_network_reduction: bool = False
    measured: Mapping[Collective, tuple[MeasuredCollective, ...]] = field(default_factory=dict)
    notes: str = ""
