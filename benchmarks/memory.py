"""Predicted beside measured: the peak of torch's allocator in real steps of small Llamas on the CPU, and resident sets.

    python -m benchmarks.memory            print the table and write it into docs/accuracy.md (two minutes)

Every case starts its own processes, as a run does: data and tensor parallel ones talk through gloo.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import statistics
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from trainwright.cost.memory import step_memory
from trainwright.cost.memory_rules import memory_rules
from trainwright.jobs.job import OptimizerSettings, Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.shape import Shape
from trainwright.models.transformer import decoder

BASE = {"hidden": 256, "layers": 4, "heads": 4, "ffn": 768, "vocabulary": 1024}
CASES: tuple[tuple[str, dict[str, int], Strategy, int, int], ...] = (
    ("example-like", {}, Strategy(micro_batch=8, precision="fp32"), 256, 1),
    ("twice the width", {"hidden": 512, "ffn": 1536}, Strategy(micro_batch=8, precision="fp32"), 256, 1),
    ("twice the depth", {"layers": 8}, Strategy(micro_batch=8, precision="fp32"), 256, 1),
    ("four times the context", {}, Strategy(micro_batch=2, precision="fp32"), 1024, 1),
    ("wide, few tokens", {"hidden": 512}, Strategy(micro_batch=1, precision="fp32"), 32, 1),
    ("large vocabulary", {"vocabulary": 8192}, Strategy(micro_batch=4, precision="fp32"), 128, 1),
    ("accumulated over 4", {}, Strategy(micro_batch=2, precision="fp32"), 128, 4),
    ("bf16 autocast", {}, Strategy(micro_batch=8, precision="bf16"), 256, 1),
    ("recompute full", {}, Strategy(micro_batch=8, precision="fp32", recompute="full"), 256, 1),
    ("recompute selective", {}, Strategy(micro_batch=8, precision="fp32", recompute="selective"), 256, 1),
    ("2 processes, data", {}, Strategy(micro_batch=4, dp=2, precision="fp32"), 256, 1),
    ("2 processes, data, wide", {"hidden": 512}, Strategy(micro_batch=1, dp=2, precision="fp32"), 32, 1),
    ("2 processes, tensor", {}, Strategy(micro_batch=8, tp=2, precision="fp32"), 256, 1),
    ("2 processes, tensor, bf16", {}, Strategy(micro_batch=8, tp=2, precision="bf16"), 256, 1),
)


def predicted_bytes(shape: dict[str, int], strategy: Strategy, seq: int, n_micro: int) -> float:
    """The model's answer."""
    model = decoder(Shape(max_seq=4096, **shape))  # type: ignore[arg-type]
    workload = Workload(global_batch=int(strategy.micro_batch * strategy.dp) * n_micro, seq=seq)
    return float(sum(step_memory(model, workload, strategy, memory_rules("trainwright"))[0].values()))


def work(rank: int, address: str, case: tuple[dict[str, int], Strategy, int, int], answers: Any) -> None:
    """One process of a run: three steps, the last of them watched."""
    import torch

    from trainwright.runtime.mesh import make_mesh
    from trainwright.runtime.model import build_model
    from trainwright.runtime.shard import precision, shard_model
    from trainwright.train.measure import peak_bytes_of, resident_bytes
    from trainwright.train.optimizer import clip, make_optimizer

    shape, strategy, seq, n_micro = case
    n = int(strategy.n_devices)
    torch.set_num_threads(1)
    if n > 1:
        torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=n)
    config = {
        "model_type": "llama", "hidden_size": shape["hidden"], "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"], "num_key_value_heads": shape["heads"], "intermediate_size": shape["ffn"],
        "vocab_size": shape["vocabulary"], "max_position_embeddings": 4096, "tie_word_embeddings": False,
    }  # fmt: skip
    mesh = make_mesh(strategy, SimpleNamespace(n_processes=n, rank=rank))  # type: ignore[arg-type]
    sharded = shard_model(build_model(config, 0), strategy, mesh)
    optimizer = make_optimizer(sharded.parameters, OptimizerSettings(name="adamw"))

    def step() -> None:
        rows = [torch.randint(0, shape["vocabulary"], (int(strategy.micro_batch), seq + 1)) for _ in range(n_micro)]
        micros = [(row[:, :-1], row[:, 1:]) for row in rows]
        sharded.gradients(micros, 1.0, precision(strategy.precision), lambda _: None)
        sharded.join_gradients()
        clip(sharded.parameters, sharded.gradient_norm(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    step()
    states = [value for state in optimizer.state.values() for value in state.values()]
    peak = peak_bytes_of(step, [*sharded.model.parameters(), *sharded.model.buffers(), *states])
    answers.put((peak, resident_bytes()))
    if n > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def measured_bytes(case: tuple[dict[str, int], Strategy, int, int]) -> tuple[float, float]:
    """Peak of the allocator and of the resident set, of the fullest process."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    ranks = range(int(case[1].n_devices))
    processes = [context.Process(target=work, args=(rank, address, case, answers)) for rank in ranks]
    for process in processes:
        process.start()
    found = [answers.get(timeout=300) for _ in ranks]
    for process in processes:
        process.join()
    return max(peak for peak, _ in found), max(resident for _, resident in found)


def table() -> Iterator[str]:
    """Lines of Markdown."""
    yield "| case | predicted MiB | measured MiB | error | resident MiB |"
    yield "|---|---:|---:|---:|---:|"
    errors = []
    for name, change, strategy, seq, n_micro in CASES:
        shape = BASE | change
        predicted = predicted_bytes(shape, strategy, seq, n_micro)
        peak, resident = measured_bytes((shape, strategy, seq, n_micro))
        errors.append(abs(predicted / peak - 1))
        numbers = f"{predicted / 2**20:.1f} | {peak / 2**20:.1f} | {predicted / peak - 1:+.1%} | {resident / 2**20:.0f}"
        yield f"| {name} | {numbers} |"
    yield f"| median of absolute errors | | | {statistics.median(errors):.1%}, worst {max(errors):.1%} | |"


def main() -> None:
    """Measure, print, write."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from tools.fit_kernels import ACCURACY, replace_section

    lines = []
    for line in table():
        print(line, flush=True)
        lines.append(line)
    ACCURACY.write_text(replace_section(ACCURACY.read_text(), "memory here", lines))


if __name__ == "__main__":
    main()
