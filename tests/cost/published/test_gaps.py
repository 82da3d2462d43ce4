from dataclasses import replace

import numpy as np
import pytest

from trainwright.cost.exchange import spans
from trainwright.cost.ingredients import States, states
from trainwright.cost.published.case import Case, case_of
from trainwright.cost.published.row import COLUMNS, Row
from trainwright.cost.setting import setting
from trainwright.cost.stack import Stack


def case(**columns: str) -> Case:
    known = {
        "id": "x", "source": "a test", "model_name": "Llama 2 7B", "arch": "llama", "layers": "32", "hidden": "4096",
        "heads": "32", "ffn": "11008", "vocab": "32000", "seq_len": "4096", "gpu": "H100 SXM", "gpus": "8",
        "gpus_per_node": "8", "step_time_s": "1.0",
    }  # fmt: skip
    found = case_of(Row(text={**dict.fromkeys(COLUMNS, ""), **known, **columns}))
    assert isinstance(found, Case)
    return found


def test_what_fits_decides_on_recomputation_and_micro_batch() -> None:
    sharded = {"tp": "1", "zero_stage_or_fsdp": "fsdp"}
    roomy, told = case(global_batch="256", **sharded), case(global_batch="256", micro_batch="1", **sharded)
    assert int(roomy.strategy.micro_batch) in (1, 2, 4)
    assert int(told.strategy.micro_batch) == 1
    assert told.strategy.recompute == "none"
    assert case(global_batch="8", seq_len="131072", dp="8", **sharded).strategy.recompute == "full"


def test_time_and_rate_together_tell_the_batch() -> None:
    assert case(step_time_s="2.0", tokens_per_s_per_gpu="4096", tp="1").workload.global_batch == 16


def test_a_large_cluster_accumulates_to_a_usual_step() -> None:
    found = case(gpus="256", tp="4", micro_batch="1", step_time_s="", tokens_per_s_per_gpu="1000")
    assert found.workload.global_batch * 4096 == pytest.approx(4e6, rel=0.1)


def test_replicas_without_a_sample_share_one() -> None:
    assert int(case(global_batch="4", dp="1", tp="1", seq_len="131072", recompute="full").strategy.cp) == 8


def test_unpacked_samples_are_timed_at_their_mean_and_held_at_their_longest() -> None:
    found = case(global_batch="8", other_notes="seq_len = longest Alpaca sample", seq_len="1304")
    assert (found.workload.seq, found.timed.seq) == (1304, 128)


def test_rates_in_flop_count_the_experts_that_work() -> None:
    shape = {"model_name": "Mixtral 8x7B", "arch": "moe", "experts": "8", "topk": "2", "ffn": "14336", "kv_heads": "8"}
    dense = case(step_time_s="", tflops_per_gpu="100", tp="8", global_batch="64")
    sparse = case(step_time_s="", tflops_per_gpu="100", tp="8", global_batch="64", **shape)
    assert sparse.step_s is not None
    assert dense.step_s is not None
    assert sparse.step_s / dense.step_s == pytest.approx(12.9 / 6.7, rel=0.1)


def test_a_row_changes_its_stack() -> None:
    assert case(framework="Megatron-Core", flash_attention="False").stack.attention == "plain"
    assert case(framework="torchtune", compile="True").stack.fused
    assert case(framework="Megatron-LM", other_notes="method vocab-2").stack.shared_head
    assert case(framework="fsdp + qlora", precision="bf16 + nf4").workload.quantized_base
    assert case(framework="Megatron-DeepSpeed", other_notes="no gradient bucketing").stack.name == "megatron-2021"
    assert case(framework="NeMo", precision="mxfp8", gpu="B200 SXM").stack.block_scaled
    assert not case(framework="torchtitan", compile="False").stack.fused
    assert case(framework="torchtitan", other_notes="asyncTP").stack.overlap_tp > 0
    assert case(framework="neuronx distributed (Neuron 2.20.0)").stack.attention == "flash"
    graphs = [case(framework="NeMo", other_notes=f"cuda_graph={how}").stack for how in ("-/-", "full_iteration/[]")]
    assert graphs[0].experts_s > graphs[1].experts_s == graphs[1].dispatch_s == 0.0
    assert case(
        framework="NeMo", source="NVIDIA NeMo long-sequence performance (24.03.01 container)"
    ).stack.ampere_flash


def test_late_mlperf_rows_of_language_models_run_nvidia_s_recipe_in_narrow_formats() -> None:
    round_ = {"source": "MLPerf Training v5.1 result logs", "gpu": "B200-SXM-180GB", "tp": "1", "global_batch": "8"}
    told, untold = case(precision="fp8 or nvfp4 (inferred)", **round_), case(**round_)
    assert (told.stack.name, told.strategy.precision, untold.strategy.precision) == ("nemo", "fp4", "fp8")
    early = round_ | {"source": "MLPerf Training v3.1 result logs", "gpu": "H100 SXM", "pp": "8", "model_name": "GPT-3"}
    assert int(case(**early).strategy.virtual_stages) == 4


def test_rows_of_maxtext_on_tpu_that_name_no_axis_are_fully_sharded() -> None:
    found = case(framework="MaxText", gpu="TPU v5p", gpus="64", model_name="Llama 3.1 70B", global_batch="256").strategy
    assert (int(found.dp), int(found.micro_batch), found.zero_stage) == (64, 4, 3)


def test_stages_of_torchtitan_share_the_local_batch_and_gather_once() -> None:
    axes = {"gpus": "16", "tp": "1", "pp": "4", "zero_stage_or_fsdp": "fsdp2", "micro_batch": "32"}
    found = case(framework="torchtitan", global_batch="128", recompute="full", **axes)
    assert int(found.strategy.micro_batch) == 8
    group = found.cluster.groups[0]

    def states_with(stack: Stack) -> States:
        how = setting(found.model, found.timed, found.strategy, group, stack)
        return states(how, spans(how.table, group, stack))

    once, each = states_with(found.stack), states_with(replace(found.stack, pipelines_gather_once=False))
    assert not once.gathers
    assert each.gathers
    assert np.all(once.spread == each.gather)


def test_a_last_stage_may_hold_fewer_blocks() -> None:
    found = case(gpus="8", tp="1", pp="8", other_notes="method redis; 1 layers on last stage")
    assert found.strategy.stages == (5, 5, 5, 4, 4, 4, 4, 1)
    assert case(gpus="8", tp="1", pp="8", other_notes="4 layers on last stage").strategy.stages is None
