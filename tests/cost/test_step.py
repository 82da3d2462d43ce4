from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from tests.cost.clusters import a100_cluster

from trainwright.cost.estimate import Estimate
from trainwright.cost.memory_rules import memory_rules
from trainwright.cost.stack import Stack, stack, stacks
from trainwright.cost.step import TIME_PARTS, estimate_step
from trainwright.hardware.parse import parse_cluster
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Precision, Strategy
from trainwright.models.catalogue import model
from trainwright.models.spec import Attention, Block, ModelSpec, Pointwise, Size
from trainwright.units import Number

GPT3 = model("gpt3-175b")
WORK = Workload(global_batch=64, seq=2048)


def estimate(strategy: Strategy, nodes: int = 8, name: str = "megatron-2021", work: Workload = WORK) -> Estimate:
    return estimate_step(GPT3, work, strategy, a100_cluster(nodes), stack(name))


def test_korthikanti_175b_full_recompute_takes_18_seconds() -> None:
    interleaved = Strategy(tp=8, pp=8, recompute="full", schedule="interleaved", virtual_stages=3)
    answer = estimate(interleaved, name="megatron-2022")
    assert answer.step_s == pytest.approx(18.13, rel=0.1)  # arXiv:2205.05198, table 5


def test_parts_are_the_documented_ones_and_add_up() -> None:
    answer = estimate(Strategy(tp=8, pp=8, recompute="full"))
    assert tuple(answer.time) == TIME_PARTS == tuple(k for k in answer.sources)
    assert answer.step_s == pytest.approx(sum(answer.time.values()))
    assert min(answer.time.values()) >= 0


def test_a_table_answers_as_its_rows_would_one_by_one() -> None:
    rows = [
        {"tp": tp, "pp": pp, "dp": dp, "micro_batch": b}
        for tp in (1, 8)
        for pp in (1, 2, 8)
        for dp in (1, 4)
        for b in (1, 2)
    ]
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    for choice in ({"zero_stage": 3}, {"recompute": "full", "sequence_parallel": True}):
        whole = estimate(Strategy(**columns, **choice), name="torchtitan")
        single = [estimate(Strategy(**row, **choice), name="torchtitan") for row in rows]
        np.testing.assert_allclose(whole.step_s, [one.step_s for one in single], rtol=1e-9)
        np.testing.assert_allclose(whole.hardware_flop, [one.hardware_flop for one in single], rtol=1e-9)


def test_model_flop_do_not_depend_on_the_split() -> None:
    one = estimate(Strategy(tp=1, pp=1, dp=64))
    split = estimate(Strategy(tp=8, pp=8, dp=1))
    assert one.model_flop == pytest.approx(split.model_flop, rel=1e-6)
    assert one.model_flop * 64 == pytest.approx(6 * 174.6e9 * 64 * 2048, rel=0.05)


def test_full_recompute_costs_one_more_forward() -> None:
    kept, again = (estimate(Strategy(tp=8, pp=8, recompute=r)) for r in ("none", "full"))
    assert again.time["recompute"] == pytest.approx(kept.time["forward"], rel=1e-6)
    assert again.hardware_flop > again.model_flop == pytest.approx(kept.hardware_flop)


def test_interleaving_divides_the_bubble() -> None:
    plain = estimate(Strategy(tp=8, pp=8))
    chunks = estimate(Strategy(tp=8, pp=8, schedule="interleaved", virtual_stages=3))
    assert chunks.time["bubble"] == pytest.approx(plain.time["bubble"] / 3, rel=1e-3)
    assert chunks.time["pp_communication"] > plain.time["pp_communication"]


def test_stages_send_parts_where_the_software_does() -> None:
    work = Strategy(tp=8, pp=8, recompute="full")
    whole = estimate_step(GPT3, WORK, work, a100_cluster(8), replace(stack("megatron-2021"), scatter_sends=False))
    assert estimate(work).time["pp_communication"] < 0.4 * whole.time["pp_communication"]


def test_kernels_written_for_another_device_and_formats_with_many_scales_are_slow() -> None:
    group, work = parse_cluster("8xH100-SXM"), Workload(global_batch=8, seq=8192)
    llama, plain = model("llama-3.1-8b"), stack("nemo")

    def parts(software: Stack) -> Mapping[str, Number]:
        return estimate_step(llama, work, Strategy(dp=8, precision="fp8"), group, software).time

    told, older = parts(plain), parts(replace(plain, ampere_flash=True))
    scaled = parts(replace(plain, block_scaled=True))
    assert older["forward"] > 1.05 * told["forward"]
    assert scaled["forward"] > 1.02 * told["forward"]
    assert scaled["head_loss"] == pytest.approx(told["head_loss"], rel=0.2)


def test_heads_that_matrix_units_cannot_load_are_slow() -> None:
    aligned, odd = (
        estimate_step(
            replace(GPT3, blocks=tuple(_with_heads(block, width) for block in GPT3.blocks)),
            WORK, Strategy(tp=8, pp=8), a100_cluster(8), stack("megatron-2021"),
        )
        for width in (128, 132)
    )  # fmt: skip
    assert odd.time["forward"] > 1.1 * aligned.time["forward"]


def _with_heads(block: Block, width: int, n_heads: int = 96) -> Block:
    shape = {"qk_dim": width, "v_dim": width, "n_heads": n_heads, "n_kv_heads": n_heads}
    ops = (replace(op, **shape) if isinstance(op, Attention) else op for op in block.ops)
    return replace(block, ops=tuple(ops))


def test_overlap_hides_gradients_and_says_so() -> None:
    software = stack("megatron-2021")
    shown, hidden = (
        estimate_step(GPT3, WORK, Strategy(dp=64), a100_cluster(8), replace(software, overlap_dp=share))
        for share in (0.0, 1.0)
    )
    assert hidden.time["dp_communication"] < shown.time["dp_communication"]
    assert hidden.hidden["dp_communication"] > 0 == shown.hidden["dp_communication"]


def test_tp_across_nodes_is_slow() -> None:
    inside = estimate(Strategy(tp=8, dp=8)).time["tp_communication"]
    across = estimate(Strategy(tp=16, dp=4)).time["tp_communication"]
    assert across > 2 * inside
    shared = replace(stack("megatron-2021"), rings=False)  # sums inside nodes first
    halved = estimate_step(GPT3, WORK, Strategy(tp=16, dp=4), a100_cluster(8), shared).time["tp_communication"]
    assert across > 1.3 * halved


def test_gradients_are_added_up_for_each_micro_batch_by_a_kernel_or_by_the_product() -> None:
    def backward(accumulates: Literal["added", "fused"] | None, precision: Precision = "bf16") -> float:
        software = replace(stack("megatron-2021"), accumulates=accumulates, corrected=False)
        split = Strategy(tp=8, pp=8, precision=precision)
        return float(estimate_step(GPT3, WORK, split, a100_cluster(8), software).time["backward"])

    added, fused = (backward(way) - backward(None) for way in ("added", "fused"))
    parameters = 12 * 12 * 12288**2 / 8  # of twelve blocks over eight devices, 64 times, at 1.5 to 2 TB/s
    assert 64 * parameters * 10 / 2.0e12 < added < 64 * parameters * 10 / 1.5e12
    assert fused == pytest.approx(0.6 * added, rel=0.01)
    assert backward("added", "fp16") - backward(None, "fp16") == pytest.approx(0.6 * added, rel=0.01)


def test_a_softmax_for_which_a_device_has_too_few_heads_is_written_out() -> None:
    small = replace(GPT3, blocks=tuple(_with_heads(block, 128, 48) for block in GPT3.blocks))
    alone, pair = (
        estimate_step(small, WORK, Strategy(tp=8, pp=8, micro_batch=n), a100_cluster(8), stack("megatron-2021"))
        for n in (1, 2)
    )
    assert alone.time["forward"] > 1.1 * pair.time["forward"]  # six heads, then twelve: the same work in all


def test_memory_comes_with_time_by_part_and_stage() -> None:
    answer = estimate(Strategy(tp=8, pp=8, recompute="full"))
    assert 20e9 < answer.peak_bytes < 80e9
    assert len(answer.stage_memory) == 3
    assert answer.peak_bytes == pytest.approx(max(sum(stage.values()) for stage in answer.stage_memory))


def test_every_stack_has_rules_of_memory() -> None:
    for known in stacks():
        assert memory_rules(known.name)


def test_batch_norms_over_replicas_wait_for_each_other_twice_a_micro_batch() -> None:
    norm = Pointwise(name="norm", elements=Size(sample=1e3), n_parameters=128, kernel="batch_norm")
    work = Workload(global_batch=64, seq=1)

    def exchanged_s(software: str, micro_batch: int, *, trainable: bool = True) -> float:
        block = Block(name="all", ops=(replace(norm, trainable=trainable),) * 9, boundary=Size())
        spec = ModelSpec(name="net", family="net", source="", blocks=(block,), max_seq=1)
        split = Strategy(dp=8, micro_batch=micro_batch)
        return float(estimate_step(spec, work, split, a100_cluster(1), stack(software)).time["dp_communication"])

    at_once, in_four = exchanged_s("trainwright", 8), exchanged_s("trainwright", 2)
    frozen = [exchanged_s("trainwright", size, trainable=False) for size in (8, 2)]
    assert frozen[0] == pytest.approx(frozen[1])
    assert (in_four - at_once) / 3 > 9 * 2 * 1e-5  # nine norms, there and back, each no less than a collective's start
    assert at_once - frozen[0] > (in_four - at_once) / 3  # the gradients besides
    assert exchanged_s("torchtitan", 8) == pytest.approx(exchanged_s("torchtitan", 2))  # whose norms keep to themselves
