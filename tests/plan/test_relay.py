from dataclasses import replace

import pytest
from tests.plan.clusters import cluster, gpu

from trainwright.cost.relay import Section, relay_cost
from trainwright.cost.stack import stack
from trainwright.cost.step import estimate_step
from trainwright.hardware.cluster import Cluster
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.catalogue import model
from trainwright.plan.aim import Aim
from trainwright.plan.costed import Task
from trainwright.plan.pins import parse_pins
from trainwright.plan.relay import pipeline_over_groups

TASK = Task(model=model("gpt2-xl"), workload=Workload(global_batch=96, seq=1024), stack=stack("megatron-core"))
FAST = cluster(1, 8, replace(gpu(bf16=312e12), name="fast")).groups[0]
SLOW = cluster(1, 8, replace(gpu(bf16=104e12), name="slow")).groups[0]


def test_two_groups_of_one_device_cost_what_one_group_of_all_costs():
    whole = cluster(2, 8, gpu()).groups[0]
    strategy = Strategy(dp=4, tp=2, pp=2, micro_batch=2, stages=(26, 22), zero_stage=1)
    half = replace(whole, n_nodes=1)
    sections = [Section(group=half, strategy=strategy, first=i, last=i + 1) for i in range(2)]
    relayed = relay_cost(TASK.model, TASK.workload, sections, TASK.stack, whole.inter)
    alone = estimate_step(TASK.model, TASK.workload, strategy, Cluster(name="one", groups=(whole,)), TASK.stack)
    assert relayed.step_s == pytest.approx(float(alone.step_s), rel=1e-9)
    assert relayed.stage_bytes.max() > float(alone.peak_bytes)  # contexts come on top


def test_the_fast_group_holds_more_blocks_and_stages_end_nearly_together():
    relay = pipeline_over_groups(TASK, Cluster(name="both", groups=(FAST, SLOW)), Aim())
    assert relay is not None
    blocks = relay.sections[0].strategy.stages
    assert sum(blocks) == 48
    held = {s.group.device.name: sum(blocks[s.first : s.last]) for s in relay.sections}
    assert held["fast"] > 1.5 * held["slow"]
    assert relay.cost.stage_s.max() / relay.cost.stage_s.min() < 1.25
    assert any("8 x fast hold" in sentence for sentence in relay.sentences)


def test_a_group_short_of_memory_holds_what_it_has_room_for():
    small = replace(FAST, device=replace(FAST.device, name="small", memory_bytes=6e9))
    relay = pipeline_over_groups(TASK, Cluster(name="both", groups=(FAST, small)), Aim())
    assert relay is not None
    section = next(s for s in relay.sections if s.group.device.name == "small")
    assert relay.cost.stage_bytes[section.first : section.last].max() <= 6e9
    assert sum(relay.sections[0].strategy.stages[section.first : section.last]) < 24


def test_pins_and_hopeless_memory_leave_no_pipeline():
    both = Cluster(name="both", groups=(FAST, SLOW))
    assert pipeline_over_groups(TASK, both, Aim(), parse_pins(["!pp"])) is None
    tiny = replace(SLOW, device=replace(SLOW.device, memory_bytes=1e8))
    assert pipeline_over_groups(TASK, Cluster(name="both", groups=(FAST, tiny)), Aim()) is None
