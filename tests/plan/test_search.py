from dataclasses import replace

import numpy as np
import pytest
from tests.plan.clusters import cluster

from trainwright.cost.stack import stack
from trainwright.cost.step import estimate_step
from trainwright.errors import InvalidInputError
from trainwright.jobs.job import Workload
from trainwright.models.catalogue import model
from trainwright.plan.aim import Aim
from trainwright.plan.choice import describe
from trainwright.plan.facts import gather_facts
from trainwright.plan.pins import parse_pins
from trainwright.plan.search import LEAST, search, share_of
from trainwright.plan.space import make_space, n_rows, row

SPEC = model("gpt2")
WORKLOAD = Workload(global_batch=8, seq=1024)
STACK = stack("torchtitan")
PINS = parse_pins(["!offload", "recompute=none|full", "every=1|2", "order=tp-cp-ep-dp-pp", "!cp"])
CLUSTER = cluster(1, 4)


def one_by_one(cluster_, counts=(4,), pins=PINS):
    facts = gather_facts(SPEC, WORKLOAD, cluster_)
    for table in make_space(facts, counts, pins).tables:
        for index in range(n_rows(table)):
            strategy = row(table, index)
            yield strategy, estimate_step(SPEC, WORKLOAD, strategy, cluster_, STACK)


def test_the_exhaustive_optimum_is_what_pricing_every_candidate_alone_finds():
    result = search(SPEC, WORKLOAD, [CLUSTER], STACK, Aim(), PINS)
    priced = [(float(estimate.step_s), strategy) for strategy, estimate in one_by_one(CLUSTER)]
    assert result.n_costed == result.n_timed == len(priced) > 100
    best_s = min(seconds for seconds, _ in priced)
    assert result.best.step_s == pytest.approx(best_s, rel=1e-12)
    assert describe(result.best.strategy) in {describe(s) for seconds, s in priced if seconds <= best_s * (1 + 1e-9)}


@pytest.mark.parametrize(
    "pinned",
    [
        ["dp=2|4", "!cp", "recompute=none|full", "zero=1|3", "mb=1"],  # offload, every k-th block
        ["tp=2", "zero=0|1", "recompute=none", "!offload", "schedule=1f1b", "mb=1"],  # orders, rings and all-to-all
        ["pp=4", "!cp", "zero=0|1", "recompute=none", "!offload", "!sp"],  # schedules
    ],
)
def test_every_axis_is_found_as_pricing_one_by_one_finds_it(pinned):
    pins, across = parse_pins(pinned), cluster(2, 4)
    result = search(SPEC, WORKLOAD, [across], STACK, Aim(), pins)
    priced = [(float(estimate.step_s), strategy) for strategy, estimate in one_by_one(across, (8,), pins)]
    assert result.n_costed == len(priced) > 20
    best_s = min(seconds for seconds, _ in priced)
    even = [choice for choice in result.front if choice.strategy.stages is None]
    assert min(choice.step_s for choice in even) == pytest.approx(best_s, rel=1e-12)
    assert result.best.step_s <= best_s * (1 + 1e-12)


def test_a_heavy_head_leaves_the_last_stage_fewer_blocks_and_the_plan_lists_them():
    spec = model("llama-3-8b")
    workload = Workload(global_batch=64, seq=4096)
    pins = parse_pins(["pp=4", "schedule=1f1b", "!cp"])
    best = search(spec, workload, [cluster(1, 8)], STACK, Aim(), pins).best
    assert sum(best.strategy.stages) == 32
    assert best.strategy.stages[-1] < 8 <= max(best.strategy.stages)
    even = estimate_step(spec, workload, replace(best.strategy, stages=None), best.cluster, STACK)
    assert best.step_s < float(even.step_s) * 0.99
    assert "blocks-" in describe(best.strategy)


def test_ranking_is_distinct_and_ascending_and_the_front_is_not_dominated():
    result = search(SPEC, WORKLOAD, [CLUSTER, cluster(1, 2)], STACK, Aim(goal="cheapest", n_shown=5), PINS)
    dollars = [choice.dollars_per_step for choice in result.ranking]
    assert dollars == sorted(dollars)
    assert len({describe(choice.strategy).split(" mb")[0] for choice in result.ranking}) == 5
    points = np.array([(c.step_s, c.dollars_per_step, c.occupied_bytes) for c in result.front])
    for point in points:
        others = np.any(points != point, axis=1) & np.all(points <= point * (1 - 1e-12), axis=1)
        assert not others.any()


def test_limits_that_nothing_keeps_get_the_closest_offers():
    aim = Aim(n_steps=1000, deadline_s=1e-3)
    result = search(SPEC, WORKLOAD, [CLUSTER], STACK, aim, PINS)
    assert result.best is None
    assert result.nearest[0].step_s == min(choice.step_s for choice in result.front)


def test_an_empty_space_is_an_error_that_names_the_pin():
    with pytest.raises(InvalidInputError, match="the pin 'tp=5' leaves no legal strategy"):
        search(SPEC, WORKLOAD, [CLUSTER], STACK, Aim(), parse_pins(["tp=5"]))


def test_fewer_devices_where_all_of_them_allow_no_split():
    result = search(SPEC, Workload(global_batch=4, seq=1023), [cluster(1, 13)], STACK, Aim(), PINS)
    assert result.best.strategy.n_devices == 12  # 13 divides neither batch, heads, nor 12 blocks


def test_many_clusters_share_the_limit_and_the_cut_is_told():
    assert share_of(4_000, 3) == LEAST
    assert share_of(400_000, 2) == 200_000
    small, large = (search(SPEC, WORKLOAD, [CLUSTER], STACK, Aim(max_candidates=n)) for n in (LEAST, None))
    assert small.n_costed < large.n_costed
    assert (bool(small.left_out), bool(large.left_out)) == (True, False)
    assert large.best.step_s <= small.best.step_s
