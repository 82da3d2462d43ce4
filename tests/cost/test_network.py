"""Collectives: by hand, where ranks lie, and what a link's own measurements say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainwright.cost.network import (
    P2P_START_S,
    SMALL_SHARE,
    START_S,
    Span,
    all_reduce_s,
    collective_s,
    hierarchical_all_reduce_s,
    ramped_s,
    ring_all_reduce_s,
)  # fmt: skip
from trainwright.hardware.catalogue import link
from trainwright.hardware.link import Link, MeasuredCollective

FAST = Link(name="fast", bytes_per_s=300e9, latency_s=0.0, source="test")
SLOW = Link(name="slow", bytes_per_s=25e9, latency_s=0.0, source="test")


def span(n_ranks: int, ranks_per_node: int, intra: Link = FAST) -> Span:
    return Span(n_ranks=n_ranks, ranks_per_node=ranks_per_node, intra=intra, inter=SLOW)


def test_a_ring_moves_the_buffer_twice_but_for_a_rank() -> None:
    assert float(ring_all_reduce_s(3e9, span(8, 8))) == pytest.approx(2 * 7 / 8 * 3e9 / 300e9)


def test_one_rank_per_node_never_gets_the_speed_inside() -> None:
    assert float(all_reduce_s(1e9, span(2, 1))) == pytest.approx(1e9 / 25e9)


def test_ranks_in_a_node_share_its_ports() -> None:
    alone, together = float(all_reduce_s(8e9, span(2, 1))), float(all_reduce_s(8e9, span(16, 8)))
    assert (alone, together) == (
        pytest.approx(8 / 25),
        pytest.approx(1.75 * 8 / 300),
    )  # 8 ports; then links inside limit


def test_a_hierarchy_sends_each_share_once_between_two_nodes() -> None:
    inside_free = span(16, 8, Link(name="free", bytes_per_s=1e15, latency_s=0.0, source="test"))
    assert float(hierarchical_all_reduce_s(8e9, inside_free, 1.75)) == pytest.approx(8e9 / 8 / 25e9)


def test_a_collective_of_one_rank_takes_no_time() -> None:
    assert float(collective_s("all_reduce", 1e9, span(1, 1))) == 0.0


def test_measured_times_go_first_and_only_for_their_ranks() -> None:
    table = MeasuredCollective(n_ranks=2, message_bytes=(1e3, 1e6), seconds=(1e-3, 1e-2))
    gloo = Link(name="gloo", bytes_per_s=1e9, latency_s=0.0, source="test", measured={"all_reduce": (table,)})
    assert float(collective_s("all_reduce", 1e6, span(2, 2, gloo))) == pytest.approx(1e-2)
    assert float(collective_s("all_reduce", 1e6, span(4, 4, gloo))) == pytest.approx(1.5e-3 + START_S)


def test_a_collective_takes_its_start_its_steps_and_at_least_what_starting_one_takes() -> None:
    late = Link(name="late", bytes_per_s=1e15, latency_s=1e-6, source="test")
    assert float(collective_s("all_gather", 1.0, span(4, 4, late))) == pytest.approx(START_S + 3e-6)
    assert float(collective_s("p2p", 1.0, span(2, 2, late))) == pytest.approx(P2P_START_S + 1e-6)
    slow_host = replace(late, start_s=4e-5)
    assert float(collective_s("all_gather", 1.0, span(4, 4, slow_host))) == pytest.approx(4e-5)


def test_large_messages_go_in_chunks_and_small_ones_at_once() -> None:
    ramp = replace(FAST, half_bytes=1e7)
    assert float(ramped_s(3e5, ramp)) == pytest.approx(3e5 / SMALL_SHARE / 300e9)
    assert float(ramped_s(3e9, ramp)) == pytest.approx(3.01e9 / 300e9)


@pytest.mark.parametrize(
    ("name", "bus_gb_per_s"),
    [("NVLink-3", 235.0), ("NVLink-4", 477.0), ("NVLink-5", 839.0)],  # facts/README.md; stas00/ml-engineering
)
def test_large_all_reduces_of_eight_reach_the_published_bus_bandwidth(name: str, bus_gb_per_s: float) -> None:
    seconds = float(collective_s("all_reduce", 8.6e9, span(8, 8, link(name))))
    assert 2 * 7 / 8 * 8.6e9 / seconds / 1e9 == pytest.approx(bus_gb_per_s, rel=0.1)
