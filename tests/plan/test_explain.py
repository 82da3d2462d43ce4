from dataclasses import replace

import pytest
from tests.plan.clusters import cluster, gpu

from trainwright.cost.stack import stack
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.catalogue import model
from trainwright.plan.aim import Aim
from trainwright.plan.costed import Task
from trainwright.plan.explain import directions, explain, nearest_remedy, time_shares
from trainwright.plan.facts import gather_facts
from trainwright.plan.neighbours import neighbours
from trainwright.plan.pins import parse_pins
from trainwright.plan.price import price
from trainwright.plan.search import search

TASK = Task(model=model("llama-3-8b"), workload=Workload(global_batch=32, seq=4096), stack=stack("torchtitan"))
CLUSTER = cluster(1, 8)
FACTS = gather_facts(TASK.model, TASK.workload, CLUSTER)
PINS = parse_pins(["!offload", "!cp", "recompute=none|full", "every=1", "shard=8|4|2|1"])


@pytest.fixture(scope="module")
def explained():
    result = search(TASK.model, TASK.workload, [CLUSTER], TASK.stack, Aim(), PINS)
    return result, explain(result, TASK, FACTS)


def test_shares_of_the_step_add_up_and_the_largest_is_named(explained):
    result, explanation = explained
    shares = time_shares(result.best)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert explanation.limits.startswith(f"limited by {next(iter(shares))}: {100 * max(shares.values()):.0f} %")


def test_runner_up_ties_and_probabilities_agree(explained):
    result, explanation = explained
    first, second = result.ranking[:2]
    assert f"{100 * (second.step_s / first.step_s - 1):.1f} % slower" in explanation.runner_up
    assert 0.5 <= explanation.wins_probability < 1.0
    assert ("tie" in explanation.runner_up) == (explanation.wins_probability < 0.8)


def test_every_direction_is_refused_with_a_reason_or_priced(explained):
    _, explanation = explained
    by_change = {direction.change: direction for direction in explanation.directions}
    assert len({direction.axis for direction in explanation.directions}) >= 5
    for direction in explanation.directions:
        assert (direction.step_s is None) == (direction.verdict == "refused")
    assert by_change["full recomputation"].verdict == "slower"
    assert "recompute +" in by_change["full recomputation"].text


def test_what_is_too_large_says_by_how_much_and_what_would_help():
    best = price(TASK, CLUSTER, Strategy(dp=8, zero_stage=3, micro_batch=1, recompute="full"))
    told = {d.change: d for d in directions(best, TASK, FACTS, 0.05)}
    assert told["no ZeRO"].verdict == "too large"
    assert "GiB over, most of it" in told["no ZeRO"].text
    assert "nearest change: ZeRO-2 -> fits with" in told["no ZeRO"].text
    tp16 = Strategy(dp=1, tp=8, sequence_parallel=True, recompute="full")
    refused = {d.change: d for d in directions(price(TASK, CLUSTER, tp16), TASK, FACTS, 0.05)}
    assert "tp 16" not in refused  # dp 1 has no rank to give
    assert refused["tp 4"].verdict in ("slower", "faster", "tie", "too large")


def test_no_remedy_where_no_single_change_fits():
    tiny = cluster(1, 8, gpu(memory_bytes=4e9))
    choice = price(TASK, tiny, Strategy(dp=8, zero_stage=0, micro_batch=4))
    assert nearest_remedy(choice, TASK, replace(FACTS), 4e9) is None


def test_neighbours_differ_in_one_direction_and_keep_the_devices():
    here = Strategy(dp=4, tp=2, zero_stage=1, shard=4, sequence_parallel=True, micro_batch=2)
    for neighbour in neighbours(here, FACTS):
        assert neighbour.strategy != here
        assert neighbour.strategy.n_devices == 8
    halved = next(n for n in neighbours(here, FACTS) if n.change == "tp 1")
    assert halved.strategy == Strategy(dp=8, zero_stage=1, micro_batch=2)
