from dataclasses import replace

import pytest

from trainwright.cost.footprint import footprint_bytes, in_step
from trainwright.cost.stack import stack
from trainwright.cost.step import estimate_step
from trainwright.hardware.catalogue import device
from trainwright.hardware.device import FOOTPRINTS, KernelRate, UpdateCalls
from trainwright.hardware.parse import parse_cluster
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.catalogue import model

GPT2 = replace(model("gpt2"), n_tied_parameters=0)


def rate(per_s: float) -> KernelRate:
    return KernelRate(elements=(1e4, 1e6), forward_per_s=(per_s, per_s), backward_per_s=(per_s, per_s))


def machine():
    known = parse_cluster("1xA100-80GB").groups[0]
    efficiency = replace(
        device("A100-80GB").efficiency,
        stream_points=((1e4, 4e11), (1e8, 4e11)), far_points=((1e4, 1e11), (1e8, 1e11)),
        update=UpdateCalls(call_s=1e-4, far_call_s=4e-4),
        kernels={"adamw": rate(4e9), "softmax": rate(1e9)}, far_kernels={"adamw": rate(1e9)},
    )  # fmt: skip
    return replace(known, device=replace(known.device, kind="cpu", efficiency=efficiency))


def test_a_large_step_finds_what_it_touches_far():
    small = Workload(global_batch=1, seq=8)
    large = Workload(global_batch=64, seq=1024)
    tiny = replace(GPT2, blocks=tuple(replace(b, ops=b.ops[:1]) for b in GPT2.blocks[1:2]))
    assert footprint_bytes(tiny, small, 1.0) < FOOTPRINTS[0]
    assert footprint_bytes(GPT2, large, 1.0) > FOOTPRINTS[1]
    assert footprint_bytes(GPT2, large, 8.0) < footprint_bytes(GPT2, large, 1.0)
    far = in_step(machine(), GPT2, large).device.efficiency
    assert [r for _, r in far.stream_points] == pytest.approx([1e11, 1e11])
    assert far.kernels["adamw"].forward_per_s == pytest.approx((1e9, 1e9))
    assert far.kernels["softmax"] == rate(1e9)
    assert far.update.call_s == pytest.approx(4e-4)
    assert far.clipped_update == UpdateCalls()
    one = replace(GPT2, blocks=(replace(max(GPT2.blocks, key=lambda b: b.repeats), repeats=1),))
    (near, _), (between, _) = (
        [r for _, r in in_step(machine(), each, small).device.efficiency.stream_points] for each in (tiny, one)
    )
    assert near == pytest.approx(4e11)
    assert 1e11 < between < 4e11


def test_it_costs_time_and_is_decided_once():
    group, work = machine(), Workload(global_batch=8, seq=128)
    once = in_step(group, GPT2, work)
    assert in_step(once, GPT2, work) == once
    cluster = replace(parse_cluster("1xA100-80GB"), groups=(group,))
    near = replace(group, device=replace(group.device, efficiency=replace(
        group.device.efficiency, far_points=(), far_kernels={})))  # fmt: skip
    alone = [
        estimate_step(GPT2, work, Strategy(precision="fp32"), replace(cluster, groups=(each,)), stack("trainwright"))
        for each in (near, group)
    ]
    assert alone[1].time["optimizer"] > 2 * alone[0].time["optimizer"]
    assert alone[1].step_s > alone[0].step_s
