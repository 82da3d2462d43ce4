from dataclasses import replace

import pytest

from trainwright.hardware.catalogue import device
from trainwright.hardware.device import KernelRate
from trainwright.probe.result import _completed


def rate(per_s: float) -> KernelRate:
    return KernelRate(elements=(1e4, 1e6), forward_per_s=(per_s, per_s), backward_per_s=(per_s, per_s))


def test_a_division_without_a_large_step_is_as_much_slower_in_it_as_the_first():
    known = device("A100-80GB")
    small = replace(known.efficiency, stream_points=((1e4, 2e11), (1e8, 2e11)), kernels={"adamw": rate(2e9)})
    second, first = replace(known, efficiency=small), replace(known, efficiency=small)
    assert _completed(second, first).efficiency.far_points == ()  # GPUs, whose caches hold no step
    large = replace(small, far_points=((1e4, 2e11), (1e8, 1e11)), far_kernels={"adamw": rate(5e8)})
    found = _completed(
        replace(
            second, efficiency=replace(small, stream_points=((1e4, 1e11), (1e8, 1e11)), kernels={"adamw": rate(1e9)})
        ),
        replace(first, efficiency=large),
    ).efficiency
    assert found.far_points == ((1e4, pytest.approx(1e11)), (1e8, pytest.approx(5e10)))
    assert found.far_kernels["adamw"].forward_per_s == pytest.approx((2.5e8, 2.5e8))
