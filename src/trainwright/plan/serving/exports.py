"""The winner as commands of the engines people run."""

from __future__ import annotations

from trainwright.jobs.serving import Serving
from trainwright.plan.serving.question import Offer

MODEL = "MODEL"
"""Stands for the folder or hub name of the weights, which the plan does not know."""


def engine_commands(one: Offer, serving: Serving) -> dict[str, str]:
    """Shell commands that start one replica, by file name: vLLM, SGLang, and TensorRT-LLM's server.

    Flags as of vLLM 0.11, SGLang 0.5 and TensorRT-LLM 1.0. ``MODEL`` is left for the user to fill in.
    """
    replica, batch = one.replica, max(int(one.most), 1)
    quantized = {"fp8": "fp8", "int4": "awq"}.get(replica.stored.name)
    narrow_kv = replica.kv == "fp8"
    vllm = [f"vllm serve {MODEL}", f"--tensor-parallel-size {replica.tp}", f"--max-model-len {serving.longest}"]
    sglang = [f"python -m sglang.launch_server --model-path {MODEL}", f"--tp-size {replica.tp}"]
    trt = [f"trtllm-serve {MODEL}", f"--tp_size {replica.tp}", f"--max_seq_len {serving.longest}"]
    vllm += [f"--max-num-seqs {batch}", f"--gpu-memory-utilization {replica.stack.memory_share:g}"]
    sglang += [f"--context-length {serving.longest}", f"--max-running-requests {batch}"]
    trt += [f"--max_batch_size {batch}"]
    if replica.pp > 1:
        vllm, trt = [*vllm, f"--pipeline-parallel-size {replica.pp}"], [*trt, f"--pp_size {replica.pp}"]
        sglang.append(f"--pp-size {replica.pp}")
    if replica.ep > 1:
        vllm += [f"--data-parallel-size {replica.ep}", "--enable-expert-parallel"]
        sglang += [f"--dp-size {replica.ep}", "--enable-dp-attention", f"--ep-size {replica.ep}"]
        trt.append(f"--ep_size {replica.ep}")
    if quantized:
        vllm, sglang = [*vllm, f"--quantization {quantized}"], [*sglang, f"--quantization {quantized}"]
    if narrow_kv:
        vllm, sglang = [*vllm, "--kv-cache-dtype fp8"], [*sglang, "--kv-cache-dtype fp8_e5m2"]
        trt.append("--kv_cache_dtype fp8")
    head = f"#!/bin/sh\n# One of {one.n_replicas} replicas that Trainwright planned; {MODEL}: the weights' folder.\n"
    commands = {"vllm.sh": vllm, "sglang.sh": sglang, "trtllm.sh": trt}
    return {name: head + "exec " + " \\\n  ".join(parts) + "\n" for name, parts in commands.items()}
