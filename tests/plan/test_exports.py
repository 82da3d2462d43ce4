import json
import tomllib

from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.plan.exports import exports

WORKLOAD = Workload(global_batch=64, seq=4096)
BIG = Strategy(
    dp=4, tp=8, cp=2, pp=2, micro_batch=1, zero_stage=1, sequence_parallel=True, schedule="interleaved",
    virtual_stages=2, recompute="full", recompute_every=2,
)  # fmt: skip


def by_software(strategy):
    return {export.software: export for export in exports(strategy, WORKLOAD)}


def test_torchtitan_has_every_degree_and_a_note_on_zero_1():
    export = by_software(BIG)["torchtitan"]
    settings = tomllib.loads(export.text)
    degrees = {k: v for k, v in settings["parallelism"].items() if k.endswith("_degree")}
    assert degrees == {
        "data_parallel_replicate_degree": 1, "data_parallel_shard_degree": 4, "tensor_parallel_degree": 8,
        "context_parallel_degree": 2, "pipeline_parallel_degree": 2, "expert_parallel_degree": 1,
    }  # fmt: skip
    assert settings["parallelism"]["pipeline_parallel_schedule"] == "Interleaved1F1B"
    assert settings["activation_checkpoint"] == {"mode": "selective", "selective_ac_option": "2"}
    assert settings["training"]["local_batch_size"] == 16  # a pipeline's micro-batches together
    assert any("ZeRO-1" in note for note in export.notes)


def test_megatron_arguments():
    words = by_software(BIG)["megatron-core"].text.replace("\\\n", "").split()
    flags = dict(zip(words, [*words[1:], ""], strict=True))
    assert flags["--tensor-model-parallel-size"] == "8"
    assert flags["--num-virtual-stages-per-pipeline-rank"] == "2"
    assert flags["--recompute-granularity"] == "full"
    assert {"--sequence-parallel", "--use-distributed-optimizer", "--bf16"} <= set(words)
    assert "--fp8-format" in by_software(Strategy(precision="fp8"))["megatron-core"].text


def test_deepspeed_batches_multiply_and_offload_names_the_device():
    strategy = Strategy(dp=8, micro_batch=2, zero_stage=3, offload="parameters", precision="fp16", shard=4)
    settings = json.loads(by_software(strategy)["deepspeed"].text)
    per_gpu, steps = settings["train_micro_batch_size_per_gpu"], settings["gradient_accumulation_steps"]
    assert per_gpu * steps * 8 == settings["train_batch_size"] == 64
    assert settings["zero_optimization"]["offload_param"]["device"] == "cpu"
    assert settings["zero_optimization"]["zero_hpz_partition_size"] == 4
    assert (settings["fp16"], settings["bf16"]) == ({"enabled": True}, {"enabled": False})
    assert "PipelineModule(num_stages=2)" in by_software(BIG)["deepspeed"].notes[0]


def test_accelerate_fsdp_2_and_its_limits():
    export = by_software(Strategy(dp=8, zero_stage=3, shard=4, recompute="full"))["accelerate"]
    assert "fsdp_version: 2\n" in export.text
    assert "parallelism_config_dp_replicate_size: 2\n" in export.text
    assert "fsdp_activation_checkpointing: true\n" in export.text
    assert export.notes == ()
    assert "distributed_type: 'NO'\nmixed_precision: 'no'" in by_software(Strategy(precision="fp32"))["accelerate"].text
    assert "without pipelines" in by_software(BIG)["accelerate"].notes[0]


def test_uneven_stages_are_told():
    exported = by_software(Strategy(pp=3, stages=(2, 3, 1)))
    assert "'Ett|ttt|tL'" in exported["megatron-core"].text
    assert any("2-3-1" in note for note in exported["torchtitan"].notes)
    assert any("2-3-1" in note for note in exported["deepspeed"].notes)
