"""Serving: what fits, what a batch yields, what a queue adds. Figures by hand, and laws that hold for every engine."""

from dataclasses import replace

import numpy as np
import pytest

from trainwright.cost.serving.cache import cache_bytes, sequence_bytes
from trainwright.cost.serving.compose import ServingScales, pass_s
from trainwright.cost.serving.corrections import scales_of, shipped
from trainwright.cost.serving.formats import FORMATS, multiply_dtype, weight_format
from trainwright.cost.serving.forward import Work, forward
from trainwright.cost.serving.load import means, prefill, steady
from trainwright.cost.serving.point import Service, by_batch, by_rate, ladder
from trainwright.cost.serving.queue import many_servers_wait_s
from trainwright.cost.serving.replica import Replica
from trainwright.cost.serving.room import most_sequences, room, weight_bytes
from trainwright.cost.serving.stack import serving_stack, serving_stacks
from trainwright.errors import InvalidInputError
from trainwright.hardware.catalogue import device
from trainwright.hardware.parse import parse_cluster
from trainwright.jobs.serving import WEIGHT_FORMATS, Requests
from trainwright.models.catalogue import model

MIX = (Requests(prompt=512, output=128),)
AS_IS = ServingScales()


def replica(name="llama-3-8b", on="1xH100-SXM", stored="bf16", engine="vllm", kv="bf16", **axes):
    return Replica(
        model=model(name),
        stack=serving_stack(engine),
        group=parse_cluster(on).groups[0],
        stored=weight_format(stored),
        kv=kv,
        **axes,
    )


def service(one, mix=MIX):
    return Service(replica=one, mix=mix, scales=scales_of(one))


def test_weights_take_their_bits_and_the_ends_stay_wide():
    held = weight_bytes(replica())
    assert held == pytest.approx(2 * model("llama-3-8b").n_parameters, rel=1e-3)
    ends = 2 * 128256 * 4096
    inner = model("llama-3-8b").n_parameters - ends
    assert weight_bytes(replica(stored="fp8")) == pytest.approx(inner + 2 * ends, rel=1e-3)
    assert weight_bytes(replica(stored="int4", tp=2)) == pytest.approx((inner * 4.25 / 8 + 2 * ends) / 2, rel=1e-3)
    experts = weight_bytes(replica("mixtral-8x7b", on="8xH100-SXM", ep=8))
    assert experts < weight_bytes(replica("mixtral-8x7b", on="8xH100-SXM")) / 4


@pytest.mark.parametrize(
    ("name", "tokens", "expected"),
    [
        ("llama-3-8b", 1000, 32 * 2 * 8 * 128 * 2 * 1000),  # grouped: 8 heads of 32
        ("deepseek-v3", 1000, 61 * (512 + 64) * 2 * 1000),  # latent: one vector for all heads
        ("mistral-7b", 100_000, 32 * 2 * 8 * 128 * 2 * 4096),  # v0.1 looks 4096 tokens back
        ("gemma-3-1b", 4096, 2 * 256 * 2 * (22 * 512 + 4 * 4096)),  # 22 of 26 layers look 512 tokens back
    ],
)
def test_the_cache_of_a_sequence(name, tokens, expected):
    assert float(sequence_bytes(model(name), "bf16", float(tokens))) == expected


def test_more_devices_than_key_heads_hold_copies_and_narrow_caches_are_smaller():
    eight, sixteen = (replica(on="2 x 8xH100-SXM", tp=tp) for tp in (8, 16))
    assert float(cache_bytes(eight, 100.0)) == float(cache_bytes(sixteen, 100.0))
    assert float(cache_bytes(replica(kv="fp8"), 100.0)) * 2 == float(cache_bytes(replica(), 100.0))
    assert float(cache_bytes(replica(on="2xH100-SXM", pp=2), 64.0)) * 2 == float(cache_bytes(replica(), 64.0))


def test_a_single_stream_reads_every_weight_once_a_token():
    one = forward(replica(), Work(sequences=1.0, context=1.0))
    read = 2 * (model("llama-3-8b").n_parameters - 128256 * 4096)  # the embedding is looked up, not read
    rate = 3352e9 * 1.06  # bandwidth, and the share of it that H100s were measured to reach
    assert float(one.traffic + one.head_traffic) == pytest.approx(read / rate, rel=0.1)
    assert float(one.flop) == pytest.approx(read, rel=0.01)


def test_experts_are_read_when_somebody_chose_them():
    few, many = (forward(replica("mixtral-8x7b", on="8xH100-SXM", tp=8), Work(sequences=n)) for n in (1.0, 256.0))
    assert float(many.expert_traffic) == pytest.approx(4 * float(few.expert_traffic), rel=0.1)  # 2 of 8, then all


def test_long_prompts_are_read_in_chunks_and_stages_work_side_by_side():
    short, long = (prefill(replica(), 1.0, n) for n in (8192.0, 32768.0))
    assert (float(short.count), float(long.count)) == (1.0, 4.0)
    staged = prefill(replica(on="4xH100-SXM", pp=4), 1.0, 32768.0)
    assert float(staged.count) == (4 + 4 - 1) / 4


@pytest.mark.parametrize("engine", [stack.name for stack in serving_stacks()])
@pytest.mark.parametrize("axes", [{}, {"pp": 2}])
def test_a_bigger_batch_never_lowers_throughput_nor_any_time(engine, axes):
    one = replica(engine=engine, stored="bf16", on="8xH100-SXM", **axes)
    points = by_batch(service(one), ladder(256.0))
    assert np.all(np.diff(points.tokens_per_s) >= -1e-9)
    assert np.all(np.diff(points.tpot_s) >= -1e-12)
    assert sum(points.parts.values()) == pytest.approx(points.tpot_s)


@pytest.mark.parametrize("name", ["mixtral-8x7b", "deepseek-v3", "gemma-3-27b", "gpt2", "falcon-7b"])
def test_every_kind_of_model_is_priced_at_every_size(name):
    one = replica(name, on="8xH200-SXM", tp=8)
    points = by_batch(service(one), [1.0, 64.0])
    assert np.all(np.isfinite(points.latency_s))
    assert points.tokens_per_s[1] > 2 * points.tokens_per_s[0]


def test_room_decides_how_many_sequences_fit():
    one = replica()
    found = room(one)
    assert found.weights + found.activations + found.reserve + found.cache == pytest.approx(found.capacity)
    most = most_sequences(one, MIX, found)
    each = float(cache_bytes(one, 512 + 64.0))  # half of the output on average
    assert most == pytest.approx(found.cache / each)
    assert room(replica("llama-3-70b")).cache < 0


def test_at_a_rate_littles_law_holds_and_beyond_it_the_queue_has_no_end():
    asked = service(replica())
    full = by_batch(asked, [256.0])
    rates = np.array([0.2, 0.5, 0.9, 1.1]) * full.requests_per_s[0]
    points = by_rate(asked, rates.tolist(), by_batch(asked, ladder(256.0)))
    in_time = points.batch[:3] / (points.tpot_s[:3] * 128)
    assert in_time == pytest.approx(rates[:3], rel=0.05)
    assert np.all(np.diff(points.ttft_s) > 0)
    assert np.isinf(points.ttft_s[3])
    assert points.requests_per_s[3] == pytest.approx(full.requests_per_s[0], rel=1e-6)


def test_many_places_wait_less_than_one_as_fast():
    waits = many_servers_wait_s(0.8, 1.0 * np.array([1.0, 8.0]), np.array([1.0, 8.0]))
    assert waits[1] < waits[0]


def test_a_mix_counts_each_kind_for_as_long_as_it_stays():
    mix = (Requests(prompt=100, output=400, share=0.5), Requests(prompt=4000, output=100, share=0.5))
    mean = means(mix)
    assert (mean.prompt, mean.output) == (2050, 250)
    assert mean.context == pytest.approx((400 * 300 + 100 * 4050) / 500)
    alone = [float(pass_s(steady(replica(), 8.0, (kind,))[0].one, AS_IS)) for kind in mix]
    assert min(alone) < float(pass_s(steady(replica(), 8.0, mix)[0].one, AS_IS)) < max(alone)


def test_formats_are_those_a_job_may_name_and_devices_refuse_what_they_cannot_multiply():
    assert tuple(stored.name for stored in FORMATS) == WEIGHT_FORMATS
    assert multiply_dtype(weight_format("fp8"), device("A100-SXM-80GB")) == "bf16"  # unpacked before the product
    none = replace(device("H100-SXM"), flop_per_s={"fp64": 1e12})
    with pytest.raises(InvalidInputError, match="H100-SXM multiplies in none of fp8, bf16, fp16"):
        multiply_dtype(weight_format("fp8"), none)


def test_every_correction_names_an_engine_there_is():
    engines = {stack.name for stack in serving_stacks()}
    assert {name.removesuffix("+packed") for name in shipped().levels[1]} <= engines
