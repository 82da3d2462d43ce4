from dataclasses import replace

import pytest

from trainwright.cost.offload import host_bytes, host_room
from trainwright.cost.stack import stack
from trainwright.hardware.parse import parse_cluster
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.catalogue import model
from trainwright.plan.aim import Aim
from trainwright.plan.pins import parse_pins
from trainwright.plan.search import search

MODEL, WORKLOAD, STACK = model("gpt2-xl"), Workload(global_batch=32, seq=1024), stack("deepspeed")


@pytest.mark.parametrize(("offload", "each"), [("optimizer", 12), ("parameters", 14)])
def test_what_is_offloaded_lies_on_the_host(offload, each):
    """Adam in mixed precision: fp32 weights and two moments; and the 16-bit weights too."""
    strategy = Strategy(dp=8, zero_stage=3, micro_batch=1, offload=offload)
    held = host_bytes(MODEL, WORKLOAD, strategy, STACK)
    assert held == pytest.approx(each * MODEL.n_parameters / 8, rel=0.01)
    node = replace(parse_cluster("8xA100-SXM-40GB").groups[0], host_memory_bytes=20e9)
    assert host_room(strategy, held, (node,)) == pytest.approx(20e9 - 8 * held)


def test_a_host_without_room_rules_offload_out():
    cluster = parse_cluster("8xA100-SXM-40GB")
    pins = parse_pins(["offload=optimizer", "zero=3", "!tp", "!pp", "!cp", "mb=1", "recompute=full", "every=1"])
    small = replace(cluster, groups=(replace(cluster.groups[0], host_memory_bytes=10e9),))
    assert search(MODEL, WORKLOAD, [cluster], STACK, Aim(), pins).best is not None
    assert search(MODEL, WORKLOAD, [small], STACK, Aim(), pins).best is None
