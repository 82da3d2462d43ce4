"""Serving plans: the search against brute force, limits kept, refusals with reasons, changes that can be checked."""

from dataclasses import replace

import numpy as np
import pytest

from trainwright.cost.serving.corrections import scales_of
from trainwright.cost.serving.point import Service, by_batch, by_rate
from trainwright.cost.serving.room import room
from trainwright.cost.serving.stack import serving_stack
from trainwright.errors import DoesNotFitError, InvalidInputError
from trainwright.hardware.parse import parse_cluster
from trainwright.jobs.serving import Requests, Serving
from trainwright.models.catalogue import model
from trainwright.plan.market import read_clusters
from trainwright.plan.serving.answer import answer_serving
from trainwright.plan.serving.exports import engine_commands
from trainwright.plan.serving.pins import parse_serving_pins
from trainwright.plan.serving.question import ServingQuestion
from trainwright.plan.serving.search import fitting, search
from trainwright.plan.serving.space import legal, replicas

MIX = (Requests(prompt=1024, output=256),)


def question(name="llama-3-8b", on="4xH100-SXM", engine="vllm", pins=(), **asked):
    more = {key: asked.pop(key) for key in ("goal", "max_devices") if key in asked}
    return ServingQuestion(
        model=model(name),
        serving=Serving(**{"mix": MIX, **asked}),
        clusters=(parse_cluster(on),),
        stack=serving_stack(engine),
        pins=parse_serving_pins(pins),
        **more,
    )


def test_the_winner_is_the_cheapest_of_all_that_keep_the_limits():
    asked = question("llama-3-70b", on="8xH100-SXM", rate=4.0, tpot_s=0.04, ttft_s=0.5)
    best = search(asked).ranking[0]
    cheapest = np.inf
    for one in replicas(asked, asked.clusters[0].groups[0]):
        found = fitting(asked, "", one, room(one))
        if found is None:
            continue
        service = Service(replica=one, mix=MIX, scales=scales_of(one))
        for count in range(1, 8 // one.n_devices + 1):
            point = by_rate(service, [4.0 / count], by_batch(service, found.curve.batch.tolist()))
            if point.ttft_s[0] <= 0.5 and point.tpot_s[0] <= 0.04:
                cheapest = min(cheapest, count * one.n_devices)
    assert best.n_devices == cheapest
    assert best.tpot_s <= 0.04
    assert best.ttft_s <= 0.5
    assert best.requests_per_s == pytest.approx(4.0)


def test_without_a_rate_every_device_works_and_tighter_limits_cost_more():
    free, tight = (search(question(on="8xH100-SXM", **more)).ranking[0] for more in ({}, {"tpot_s": 0.012}))
    assert free.n_devices == 8
    assert tight.tpot_s <= 0.012 < free.tpot_s
    assert tight.dollars_per_million > free.dollars_per_million
    assert tight.batch < free.batch


def test_more_requests_take_more_devices():
    devices = [search(question(on="8xH100-SXM", rate=rate)).ranking[0].n_devices for rate in (1.0, 40.0, 120.0)]
    assert devices == sorted(devices)
    assert devices[0] == 1
    assert devices[-1] > devices[0]


def test_goals():
    at_rate = {"rate": 2.0, "on": "8xH100-SXM"}
    cheap, fast, small = (
        search(question(goal=goal, **at_rate)).ranking[0] for goal in ("cheapest", "fastest", "least-memory")
    )
    assert cheap.n_devices <= fast.n_devices
    assert fast.latency_s <= min(cheap.latency_s, small.latency_s)
    assert small.room.least * small.n_devices <= cheap.room.least * cheap.n_devices


def test_the_front_holds_nothing_that_another_point_beats():
    front = search(question(on="8xH100-SXM")).front
    assert len(front) > 3
    for one in front:
        figures = (one.tpot_s, one.dollars_per_million, one.ttft_s)
        for other in front:
            others = (other.tpot_s, other.dollars_per_million, other.ttft_s)
            assert other is one or not all(o <= f for o, f in zip(others, figures, strict=True)) or others == figures


def test_pins_and_the_jobs_formats_are_kept():
    asked = question(on="8xH100-SXM", pins=["tp=2,!pp", "replicas=2"], weights="int8", kv="fp8")
    for one in search(asked).ranking:
        assert (one.replica.tp, one.replica.pp, one.n_replicas) == (2, 1, 2)
        assert (one.replica.stored.name, one.replica.kv) == ("int8", "fp8")
    assert search(question(on="8xH100-SXM", max_devices=2)).ranking[0].n_devices <= 2
    assert search(question(batch=4)).ranking[0].batch <= 4


def test_a_mixture_may_share_out_its_experts():
    found = search(question("mixtral-8x7b", on="8xH100-SXM"))
    assert any(one.replica.ep > 1 for one in found.ranking)
    assert all(legal(one.replica) is None for one in found.ranking)
    assert all(8 % one.replica.ep == 0 for one in found.ranking)


def test_an_answer_explains_and_its_changes_are_priced_alike():
    found = answer_serving(question("llama-3-70b", on="8xH100-SXM", rate=3.0))
    assert any("weights" in sentence for sentence in found.sentences)
    assert any("runner-up" in sentence for sentence in found.sentences)
    changed = {change.what: change for change in found.changes}
    ep = changed["ep 2"]
    assert ep.refused is not None
    assert "no experts" in ep.refused
    narrow = changed["weights int4"].offer
    assert narrow is not None
    assert narrow.room.weights < found.best.room.weights
    assert [one.batch for one in found.by_batch][:3] == [1, 2, 4]
    assert sum(found.best.parts.values()) == pytest.approx(found.best.tpot_s)


def test_what_could_be_rented_is_compared():
    asked = replace(question(rate=2.0), clusters=read_clusters(["any"], 2))
    ranking = search(asked).ranking
    assert len({one.replica.device.name for one in ranking}) > 10
    prices = [one.dollars_per_million for one in ranking]
    assert prices == sorted(prices)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (question("bert-base", on="1xT4"), InvalidInputError, "bert-base does not generate text"),
        (question("gpt2"), InvalidInputError, "requests of 1280 tokens are longer than the 1024"),
        (question("llama-3-70b", on="1xH100-SXM", weights="bf16"), DoesNotFitError, "holds one request of 1280 tokens"),
        (question(on="1xH100-SXM", rate=1e4), DoesNotFitError, "none of 2 replicas that fit keeps 10000 requests/s"),
        (question(on="1xH100-SXM", tpot_s=1e-4), DoesNotFitError, "keeps tpot 100 us; the closest are"),
        (question(pins=["tp=3"], on="8xH100-SXM"), InvalidInputError, "tp 3: 32 heads do not divide"),
        (question(pins=["tp=16"], on="2 x 8xH100-SXM"), InvalidInputError, "tp 16 leaves the node of 8 devices"),
        (question(pins=["tp=2"], engine="llama.cpp"), InvalidInputError, "llama.cpp splits by layers only"),
        (question(pins=["ep=2"]), InvalidInputError, "ep 2: the model has no experts"),
        (question(pins=["pp=64"], on="64xH100-SXM"), InvalidInputError, "pp 64: there are 32 layers"),
        (
            question(pins=["weights=fp8"], engine="trainwright"),
            InvalidInputError,
            "knows no weights in fp8",
        ),
        (question("mixtral-8x7b", pins=["ep=3"]), InvalidInputError, "ep 3: 8 experts do not divide"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(asked, error, message):
    with pytest.raises(error, match=message) as caught:
        answer_serving(asked)
    assert caught.value.hint


def test_what_is_too_large_names_a_way_that_fits():
    with pytest.raises(DoesNotFitError) as caught:
        answer_serving(question("llama-3-70b", on="1xH100-SXM", weights="bf16"))
    assert "weights=fp8 fits" in caught.value.hint
    assert answer_serving(question("llama-3-70b", on="1xH100-SXM", weights="fp8")).best.batch >= 1


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["tp"], "'tp' gives tp no value"),
        (["tp=two"], "tp is a whole number above 0"),
        (["zero=1"], "unknown axis of a serving plan 'zero'"),
        (["weights=fp9"], "unknown format of weights 'fp9'"),
        (["tp=2", "!tp"], "'tp=2' and '!tp' contradict each other"),
    ],
)
def test_bad_pins_are_refused(texts, message):
    with pytest.raises(InvalidInputError, match=message):
        parse_serving_pins(texts)


def test_the_winner_as_commands_of_engines():
    found = answer_serving(question("deepseek-v3", on="2 x 8xH200-SXM", pins=["ep=8,pp=2"], kv="fp8"))
    commands = engine_commands(found.best, found.question.serving)
    assert "--enable-expert-parallel" in commands["vllm.sh"]
    assert "--pipeline-parallel-size 2" in commands["vllm.sh"]
    assert "--kv-cache-dtype fp8" in commands["sglang.sh"]
    assert "--max_seq_len 1280" in commands["trtllm.sh"]
