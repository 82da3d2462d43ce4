from dataclasses import replace

import pytest
from tests.plan.clusters import cluster, gpu

from trainwright.cost.stack import stack
from trainwright.hardware.cluster import Cluster
from trainwright.jobs.job import Workload
from trainwright.models.catalogue import model
from trainwright.plan.aim import Aim
from trainwright.plan.costed import Task
from trainwright.plan.groups import split_over_groups, together
from trainwright.plan.pins import parse_pins

TASK = Task(model=model("gpt2-xl"), workload=Workload(global_batch=96, seq=1024), stack=stack("torchtitan"))
PINS = parse_pins(["!cp", "!pp", "!offload", "recompute=none|full", "every=1"])
FAST = cluster(1, 8, replace(gpu(bf16=312e12), name="fast")).groups[0]
SLOW = cluster(1, 8, replace(gpu(bf16=104e12), name="slow")).groups[0]


@pytest.fixture(scope="module")
def mixed():
    return split_over_groups(TASK, Cluster(name="both", groups=(FAST, SLOW)), Aim(), PINS)


def test_the_fast_group_does_more_and_all_samples_are_done(mixed):
    fast, slow = mixed.parts
    assert fast.samples + slow.samples == 96
    assert 1.5 < fast.samples / slow.samples < 4.0
    assert all(part.choice.strategy.n_devices == 8 for part in mixed.parts)


def test_groups_end_nearly_together_and_leaving_the_slow_one_out_costs(mixed):
    times = [part.choice.step_s for part in mixed.parts]
    assert max(times) / min(times) < 1.4  # a grain of 8 samples apart at most
    assert mixed.alone_s["8 x fast"] > mixed.step_s
    assert mixed.alone_s["8 x slow"] > mixed.alone_s["8 x fast"]
    told = "\n".join(mixed.sentences)
    assert "8 x fast does" in told
    assert "with 8 x fast alone: +" in told


def test_the_shares_are_one_strategy_with_unlike_replicas_where_only_those_differ(mixed):
    fast, slow = mixed.parts
    chosen = replace(fast.choice.strategy, dp=8, tp=1, zero_stage=0, shard=None, micro_batch=3)
    parts = tuple(
        replace(part, samples=n, choice=replace(part.choice, strategy=replace(chosen, micro_batch=size)))
        for part, n, size in ((fast, 72, 3), (slow, 24, 3))
    )
    strategy = together(replace(mixed, parts=parts))
    assert (strategy.dp, strategy.micro_batch, strategy.samples) == (16, 3, (9,) * 8 + (3,) * 8)
    odd = replace(parts[1], choice=replace(slow.choice, strategy=replace(chosen, tp=2, dp=4)))
    assert together(replace(mixed, parts=(parts[0], odd))) is None


def test_one_able_group_is_no_mixture():
    tiny = replace(SLOW, device=replace(SLOW.device, memory_bytes=1e9))
    assert split_over_groups(TASK, Cluster(name="both", groups=(FAST, tiny)), Aim(), PINS) is None
