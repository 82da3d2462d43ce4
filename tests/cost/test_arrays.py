"""Every formula gives on an array what it gives on each of its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainwright.cost.attention import AttentionShape, fused_attention_s, plain_attention_s
from trainwright.cost.matmul import Product, matmul_s
from trainwright.cost.network import Span, collective_s
from trainwright.cost.pointwise import stream_s
from trainwright.hardware.device import Device, Efficiency, MatmulCurve, Saturation
from trainwright.hardware.link import Link, MeasuredCollective
from trainwright.units import Number

GPU = Device(
    name="gpu",
    vendor="v",
    architecture="a",
    kind="gpu",
    memory_bytes=80e9,
    memory_bytes_per_s=2e12,
    flop_per_s={"bf16": 300e12},
    launch_s=4e-6,
    source="test",
    efficiency=Efficiency(
        matmul={"bf16": MatmulCurve(best=0.9, half_k=200.0, half_side=20, tiles="tensor", n_units=108)},
        attention_forward=Saturation(best=0.6, half=1e9),
        attention_backward=Saturation(best=0.5, half=1e9),
        stream=Saturation(best=0.9, half=1e6),
        transcendental_per_s=1e12,
    ),
)
CPU = replace(
    GPU, kind="cpu", efficiency=replace(GPU.efficiency, stream_points=((1e4, 1e11), (1e6, 5e10), (1e8, 2e10)))
)
NVLINK = Link(name="nvlink", bytes_per_s=300e9, latency_s=2e-6, source="test", in_network_reduction=True)
NETWORK = Link(name="network", bytes_per_s=25e9, latency_s=5e-6, source="test", half_bytes=1e6)
GLOO = Link(
    name="gloo",
    bytes_per_s=3e9,
    latency_s=1e-4,
    source="test",
    measured={"all_reduce": (MeasuredCollective(n_ranks=2, message_bytes=(1e3, 1e6), seconds=(1e-4, 1e-3)),)},
)

SIZES = st.lists(st.integers(min_value=1, max_value=200_000), min_size=1, max_size=5)


def attention(queries: Number) -> AttentionShape:
    return AttentionShape(
        batch=2.0, queries=queries, keys=queries, n_heads=8, n_kv_heads=2, qk_dim=64, v_dim=64, window=100
    )


FORMULAS: dict[str, Callable[[Number], Number]] = {
    "matmul": lambda x: matmul_s(Product(m=x, n=300.0, k=500.0), "bf16", GPU),
    "weight gradient": lambda x: matmul_s(Product(m=300.0, n=500.0, k=x).weight_gradient, "bf16", GPU),
    "stream": lambda x: stream_s(x, GPU, transcendental=x),
    "stream in caches": lambda x: stream_s(x, CPU),
    "fused": lambda x: fused_attention_s(attention(x), "bf16", GPU),
    "plain": lambda x: plain_attention_s(attention(x), "bf16", GPU, backward=True),
    **{
        f"{kind} {link.name}": lambda x, kind=kind, link=link: collective_s(
            kind, x, Span(n_ranks=2 + x % 30, ranks_per_node=1 + x % 8, intra=link, inter=NETWORK)
        )
        for kind in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "p2p")
        for link in (NVLINK, GLOO)
    },
}


@pytest.mark.parametrize("name", FORMULAS)
@settings(deadline=None)  # the machine may be busy; no test asserts time
@given(sizes=SIZES)
def test_arrays_give_what_numbers_give(name: str, sizes: list[int]) -> None:
    formula = FORMULAS[name]
    together = np.broadcast_to(formula(np.array(sizes, dtype=float)), len(sizes))
    one_by_one = [float(formula(float(size))) for size in sizes]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-12)
    assert np.all(together >= 0)
