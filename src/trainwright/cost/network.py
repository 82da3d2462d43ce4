"""Seconds of one collective, given where its ranks lie: ring, tree, in-network reduction, all-to-all, p2p.

``message_bytes`` is what nccl-tests calls size: for all-reduce and broadcast the buffer each rank holds, for
all-gather the gathered result, for reduce-scatter the input, for all-to-all what one rank sends in all (its own
share included), for p2p the message.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trainwright.cost.numbers import anywhere, either, larger, smaller
from trainwright.hardware.cluster import NodeGroup
from trainwright.hardware.link import Collective, Link, MeasuredCollective
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where the ranks of a communicator lie: ``ranks_per_node`` of its ``n_ranks`` share a node.

    ``intra`` and ``inter`` are what one device gets inside a node and out of it. ``crossing``: share of an all-to-all's
    bytes for other nodes that crosses the network. ``rings``: no all-reduce shares its work out between node and
    network. ``n_nodes``: those touched. Counts may be arrays.
    """

    n_ranks: Number
    ranks_per_node: Number
    intra: Link
    inter: Link
    crossing: Number = 1.0
    rings: bool = False
    n_nodes: Number = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_nodes", -(-self.n_ranks // self.ranks_per_node))


def span(group: NodeGroup, n_ranks: Number, stride: Number = 1.0, *, rings: bool = False) -> Span:
    """The span of a mesh axis of ``n_ranks`` whose neighbours are ``stride`` devices apart.

    >>> from trainwright.hardware.link import Link
    >>> nv, ib = Link(name="a", bytes_per_s=3e11, latency_s=1e-6, source=""), Link(name="b", bytes_per_s=2.5e10,
    ...     latency_s=5e-6, source="")
    >>> from types import SimpleNamespace
    >>> node = SimpleNamespace(devices_per_node=8, intra=nv, inter=ib)
    >>> [float(span(node, 16.0, stride).ranks_per_node) for stride in (1.0, 4.0, 8.0)]  # tp inside, dp outside
    [8.0, 2.0, 1.0]
    """
    inside = smaller(larger(group.devices_per_node // stride, 1.0), n_ranks)
    return Span(n_ranks=n_ranks, ranks_per_node=inside, intra=group.intra, inter=group.inter, rings=rings)


START_S = 1.2e-5
"""What starting a collective takes: NCCL's tuner (src/graph/tuning.cc) has 6.6 us (LL), 14 (LL128) and 8.4 (Simple)."""

START_STEPS = 2.5
"""What starting one between nodes takes on top, in steps of the network."""


def collective_s(kind: Collective, message_bytes: Number, where: Span) -> Number:
    """Seconds of one collective; 0 for a communicator of one rank.

    A link with ``measured`` times of this collective answers from them; else the fastest of the algorithms below.
    """
    if not anywhere(where.n_ranks > 1):
        return 0.0 * (message_bytes * where.n_ranks)
    modelled: Number = {
        "all_reduce": all_reduce_s,
        "all_gather": ring_pass_s,
        "reduce_scatter": ring_pass_s,
        "all_to_all": all_to_all_s,
        "broadcast": broadcast_s,
        "p2p": p2p_s,
    }[kind](message_bytes, where)
    is_far = where.n_nodes > 1
    if kind == "p2p":
        modelled = modelled + P2P_START_S
    else:
        modelled = modelled + START_S + START_STEPS * either(is_far, where.inter.latency_s, 0.0)
        modelled = larger(modelled, either(is_far, where.inter.start_s, where.intra.start_s))
    for link, applies in ((where.intra, where.n_nodes == 1), (where.inter, where.ranks_per_node == 1)):
        for table in link.measured.get(kind, ()):
            hit = applies & (where.n_ranks == table.n_ranks)
            if anywhere(hit):
                modelled = either(hit, measured_s(table, message_bytes), modelled)
    return either(where.n_ranks > 1, modelled, 0.0)


def measured_s(table: MeasuredCollective, message_bytes: Number) -> Number:
    """Measured seconds, interpolated in the logarithm of size and time; beyond the table at the last rate.

    >>> table = MeasuredCollective(n_ranks=2, message_bytes=(1e3, 1e5), seconds=(1e-5, 1e-3))
    >>> round(float(measured_s(table, 1e4)), 9), round(float(measured_s(table, 1e6)), 9)
    (0.0001, 0.01)
    """
    sizes, seconds = np.array(table.message_bytes), np.array(table.seconds)
    inside = np.exp(np.interp(np.log(np.maximum(message_bytes, 1.0)), np.log(sizes), np.log(seconds)))
    seconds_at: Number = inside * np.maximum(message_bytes / sizes[-1], 1.0)
    return seconds_at


def all_reduce_s(message_bytes: Number, where: Span) -> Number:
    """The fastest of ring, tree, hierarchy and (where the switch can) in-network reduction; of the first two alone
    where ``rings``.
    """
    best = smaller(ring_all_reduce_s(message_bytes, where), tree_all_reduce_s(message_bytes, where))
    if where.rings:
        return best
    best = smaller(best, hierarchical_all_reduce_s(message_bytes, where, 2.0 * (1.0 - 1.0 / where.ranks_per_node)))
    if where.intra.in_network_reduction:
        best = smaller(best, hierarchical_all_reduce_s(message_bytes, where, IN_NETWORK_PASSES))
    return best


IN_NETWORK_PASSES = 1.35
"""Times the message crosses a device's link when the switch adds (NVLink SHARP): 1 in theory, less than a ring's 1.75
of 8 devices; of 8 H200 the algorithm reaches 273 GB/s and a ring 210 (stas00/ml-engineering, all-reduce of 8 GiB)."""


def ring_all_reduce_s(message_bytes: Number, where: Span) -> Number:
    """2 (n - 1) steps of message / n: a reduce-scatter, then an all-gather.

    Source: Patarasuk and Yuan, J. Parallel Distrib. Comput. 69(2), 2009.
    """
    return 2.0 * ring_pass_s(message_bytes, where)


def ring_pass_s(message_bytes: Number, where: Span) -> Number:
    """Once around a ring (all-gather, reduce-scatter): (n - 1) steps of message / n.

    t = steps inside * latency + steps between nodes * latency + (n - 1) / n message / bandwidth

    The slowest edge paces the ring: inside the node, or the node's way out, which ``ranks_per_node`` ranks share
    out among as many rings.
    """
    outside = either(where.n_nodes > 1, where.n_nodes, 0.0)
    latency_s = (where.n_ranks - 1 - outside) * where.intra.latency_s + outside * where.inter.latency_s
    share = (where.n_ranks - 1) / where.n_ranks
    return larger(latency_s, 0.0) + share * _transfer_s(message_bytes, where)


def tree_all_reduce_s(message_bytes: Number, where: Span) -> Number:
    """Up and down a double binary tree between nodes, a chain inside: fewer steps, as much traffic.

    Source: Sanders, Speck and Traeff, "Two-tree algorithms", Parallel Computing 35(12), 2009; NCCL 2.4.
    """
    return 2.0 * _steps_s(where) + 2.0 * _transfer_s(message_bytes, where)


def hierarchical_all_reduce_s(message_bytes: Number, where: Span, passes: Number) -> Number:
    """Reduce inside nodes, all-reduce each rank's share between them, gather inside; the stages flow into each other.

    t = 2 steps + max(passes message / link, 2 (N - 1) / N message / (ports of a node)), N nodes

    ``passes``: how often the message crosses a device's link inside the node: 2 (r - 1) / r by rings.
    """
    inside = passes * ramped_s(message_bytes, where.intra)
    share = 2.0 * (1.0 - 1.0 / where.n_nodes) / where.ranks_per_node
    outside = share * where.ranks_per_node * ramped_s(message_bytes / where.ranks_per_node, where.inter)
    return 2.0 * _steps_s(where) + larger(inside, outside)


def all_to_all_s(message_bytes: Number, where: Span) -> Number:
    """Every rank sends message / n to every other: what stays in the node and what leaves go at once."""
    each = ramped_s(message_bytes, where.intra) / where.n_ranks
    inside_s = where.intra.latency_s * (where.ranks_per_node - 1) + each * (where.ranks_per_node - 1)
    leaving = where.n_ranks - where.ranks_per_node
    out = where.crossing * ramped_s(message_bytes, where.inter) / where.n_ranks
    outside_s = either(leaving > 0, where.inter.latency_s * where.n_nodes + out * leaving, 0.0)
    return larger(inside_s, outside_s)


def broadcast_s(message_bytes: Number, where: Span) -> Number:
    """A pipelined tree: the depth in latencies, then the message once."""
    depth = np.log2(where.ranks_per_node) * where.intra.latency_s + np.log2(where.n_nodes) * where.inter.latency_s
    return depth + _transfer_s(message_bytes, where)


def p2p_s(message_bytes: Number, where: Span) -> Number:
    """One message to the next rank, over the network when any neighbours lie in different nodes."""
    inside, outside = (each.latency_s + message_bytes / (each.bytes_per_s * each.efficiency)
                       for each in (where.intra, where.inter))  # fmt: skip
    return either(where.n_nodes > 1, outside, inside)


P2P_START_S = 8e-6
"""What starting a send takes: 7 us on H100, 9 on A100 PCIe, 13 on A100 SXM (Vidur's send and receive of 16 kB)."""

SMALL_SHARE = 0.6
"""Share of a link's best rate that small messages reach: they go in flagged lines (LL128), not in chunks. Fitted."""


def ramped_s(message_bytes: Number, link: Link) -> Number:
    """Seconds of a message passed along a ring or tree over one device's link, by the faster of two protocols.

    t = min(message / small share, message + half_bytes) / (bandwidth efficiency)

    Small messages go in flagged lines (LL128), at a part of the rate and at once; large ones in chunks (Simple), at the
    whole rate once the chain of ranks is full, for which ``half_bytes`` stands. Structure: NCCL, src/graph/tuning.cc;
    Hu et al., "Demystifying NCCL", arXiv:2507.04786.

    >>> link = Link(name="a", bytes_per_s=1e9, latency_s=0.0, source="example", half_bytes=3e6)
    >>> float(ramped_s(3e6, link)), float(ramped_s(9e6, link))
    (0.005, 0.012)
    """
    rate = link.bytes_per_s * link.efficiency
    return smaller(message_bytes / SMALL_SHARE, message_bytes + link.half_bytes) / rate


def _steps_s(where: Span) -> Number:
    """Latencies of one way through a chain in the node and a tree between nodes."""
    return (where.ranks_per_node - 1) * where.intra.latency_s + np.log2(where.n_nodes) * where.inter.latency_s


def _transfer_s(message_bytes: Number, where: Span) -> Number:
    """Seconds of the message once over the slowest edge of a ring or tree over all ranks.

    Between nodes every rank's port serves one of ``ranks_per_node`` rings, so the ring gets them all; a
    communicator with one rank per node gets one port (and never NVLink speed).
    """
    inside = ramped_s(message_bytes, where.intra)
    outside = ramped_s(message_bytes / where.ranks_per_node, where.inter)
    slowest = either(where.ranks_per_node > 1, larger(inside, outside), outside)
    return either(where.n_nodes > 1, slowest, inside)
