from dataclasses import replace

import pytest

from trainwright.cost.stack import stack
from trainwright.cost.step import estimate_step
from trainwright.hardware.device import KernelRate, UpdateCalls
from trainwright.hardware.parse import parse_cluster
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.catalogue import model

RATE = KernelRate(elements=(1e4, 1e9), forward_per_s=(1e10, 1e10), backward_per_s=(1e10, 1e10))


def _optimizer_s(clip: bool, update: UpdateCalls, clipped: UpdateCalls) -> float:
    cluster = parse_cluster("1xH100-SXM")
    (group,) = cluster.groups
    measured = {"kernels": {"adamw": RATE}, "update": update, "clipped_update": clipped}
    device = replace(group.device, efficiency=replace(group.device.efficiency, **measured))
    workload = Workload(global_batch=1, seq=64, clip=clip)
    here = replace(cluster, groups=(replace(group, device=device),))
    estimate = estimate_step(model("gpt2"), workload, Strategy(micro_batch=1), here, stack("trainwright"))
    return float(estimate.time["optimizer"])


@pytest.mark.parametrize(("clip", "calls"), [(False, 1.0), (True, 5.0)])
def test_a_measured_update_pays_for_its_calls_and_for_the_norm_where_it_clips(clip, calls):
    none, n_tensors = UpdateCalls(), 149  # GPT-2: 2 embeddings, 12 blocks of 12, a norm, the tied head

    def more_s(alone: UpdateCalls, clipped: UpdateCalls) -> float:
        return _optimizer_s(clip, alone, clipped) - _optimizer_s(clip, none, none)

    one_s = more_s(UpdateCalls(call_s=1.0), UpdateCalls(call_s=1.0))
    assert more_s(UpdateCalls(call_s=1.0), UpdateCalls(call_s=5.0)) == pytest.approx(calls * one_s)
    assert more_s(UpdateCalls(tensor_s=1.0), UpdateCalls(tensor_s=5.0)) == pytest.approx(calls * n_tensors * one_s)
