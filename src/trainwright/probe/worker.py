"""One measuring process (team.py starts it): ``main(ORDERS, ANSWER, READY)``.

It reads its orders (JSON), makes the file READY once everything is imported, and measures after a line on its stdin.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path

import torch
import torch.distributed as dist

from trainwright.hardware.encode import from_plain, to_plain
from trainwright.probe.allocator import collect_again, keep_pages
from trainwright.probe.attention import measure_attention
from trainwright.probe.caches import measure_caches
from trainwright.probe.clock import Clock, cpu_done
from trainwright.probe.convolution import measure_products
from trainwright.probe.dispatch import measure_dispatch
from trainwright.probe.exercises import measure_exercises
from trainwright.probe.kernels import measure_kernels
from trainwright.probe.links import measure_links
from trainwright.probe.matmul import measure_matmuls
from trainwright.probe.memory import exp_per_s, measure_streams
from trainwright.probe.pool import places
from trainwright.probe.samples import Orders, Samples


def work(orders: Orders, resident_bytes: float = 0.0) -> Samples:
    """Measure everything the orders name, all processes at once."""
    keep_pages()
    torch.set_num_threads(orders.n_threads)
    if orders.n_ranks > 1:
        _join(orders)
    device = "cpu" if orders.device == "cpu" else f"cuda:{orders.rank}"
    begin = time.perf_counter()
    if orders.device == "cpu" and orders.n_ranks == 1:
        warm_up(WARM_S)
    clock = _clock(orders)
    at = places(device, with_large_step=orders.with_all and device == "cpu")
    matmuls = measure_matmuls(clock, at, orders.dtypes)
    streams = measure_streams(clock, at)
    exponentials = exp_per_s(clock, device)
    attention = measure_attention(clock, at.near, orders.dtypes)
    dispatch = measure_dispatch(clock, device, with_large_step=at.large is not None)
    kernels = measure_kernels(clock, at, with_largest=orders.with_all)
    products = measure_products(clock, at.near, orders.dtypes, rare=orders.with_lessons) if orders.with_all else []
    links = measure_links(device, orders.link_sizes, 0.6 * orders.budget_s) if orders.n_ranks > 1 else []
    samples = Samples(
        matmuls=tuple(matmuls),
        streams=streams,
        exp_per_s=exponentials,
        attention=tuple(attention),
        dispatch=dispatch,
        kernels=tuple(kernels),
        products=tuple(products),
        links=tuple(links),
        caches=measure_caches() if orders.with_lessons else (),
        exercises=measure_exercises(clock, device) if orders.with_lessons else {},
        spread=statistics.median(timing.spread for timing in clock.timings),
        disturbed_share=statistics.fmean(timing.disturbed_share for timing in clock.timings),
        resident_bytes=resident_bytes,
        memory_bytes=_memory_bytes(orders),
        device_name="cpu" if orders.device == "cpu" else torch.cuda.get_device_name(orders.rank),
        wall_s=time.perf_counter() - begin,
    )
    if orders.n_ranks > 1:
        dist.barrier()
        dist.destroy_process_group()
    return samples


WARM_S = 0.3
"""A processor holds its highest clock for a second or so, and has begun with its imports; a training step has the clock
after that. The division into one process comes first, and the others soon after it."""


def warm_up(seconds: float) -> None:
    """Multiply for so long, with all threads."""
    square = torch.randn(512, 512)
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        square @ square


def _join(orders: Orders) -> None:
    backend = "gloo" if orders.device == "cpu" else "nccl"
    if orders.device != "cpu":
        torch.cuda.set_device(orders.rank)
    meeting = f"file://{orders.folder}/meeting-{orders.n_ranks}"
    dist.init_process_group(backend, init_method=meeting, rank=orders.rank, world_size=orders.n_ranks)


def _clock(orders: Orders) -> Clock:
    together = orders.n_ranks > 1
    return Clock(
        meet=dist.barrier if together else cpu_done,
        done=cpu_done if orders.device == "cpu" else torch.cuda.synchronize,
        budget_s=orders.budget_s / 120.0,
        rounds=max(3, round(1.2 * orders.budget_s)),
        hurry_after_s=HURRY * orders.budget_s,
    )


HURRY = 4.0
"""After so many times the seconds that measuring takes on an idle machine, readings are cut short."""


def _resident_bytes() -> float:
    """What the kernel says this process holds once it has trained a tiny model: its imports, and what torch makes for
    itself in a first step.
    """
    import psutil
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", vocab_size=256, **sizes))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    tokens = torch.zeros(2, 32, dtype=torch.int64)
    for dtype in (torch.bfloat16, torch.float32):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
    return float(psutil.Process().memory_info().rss)


def _first_update() -> float:
    """Whoever trains first imports more (the compiler, say), a second of work that would disturb a measurement."""
    weight = torch.zeros(1, requires_grad=True)
    weight.exp().sum().backward()
    torch.optim.AdamW([weight], fused=True).step()
    return 0.0


def _memory_bytes(orders: Orders) -> float:
    if orders.device != "cpu":
        return float(torch.cuda.get_device_properties(orders.rank).total_memory)
    import psutil

    return float(psutil.virtual_memory().total) / orders.n_ranks


def main(orders_path: str, answer_path: str, ready_path: str) -> None:
    """Read the orders, wait for the turn, work, write the answer. Without a parent nobody wants one."""
    orders = from_plain(Orders, json.loads(Path(orders_path).read_text(encoding="utf-8")))
    resident_bytes = _resident_bytes() if orders.n_ranks == 1 else _first_update()
    collect_again()
    Path(ready_path).touch()
    if sys.stdin.readline():
        threading.Thread(target=_end_with_parent, daemon=True).start()
        Path(answer_path).write_text(json.dumps(to_plain(work(orders, resident_bytes))), encoding="utf-8")
        os._exit(0)  # an interpreter with torch in it takes a second to take itself apart


def _end_with_parent() -> None:
    """Standard input ends when the parent does, by SIGKILL too: then these measurements would only disturb the next.

    Read below Python's own stream, whose lock a forked loader would wait for.
    """
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)
