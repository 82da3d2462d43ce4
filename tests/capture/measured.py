"""What a real step on this CPU does: FLOP by torch's own counter, peak bytes by its allocator's events."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from trainwright.capture.step import Example, OptimizerMaker, Optimizers, run_step

aten = torch.ops.aten


def _lstm(x: Any, w_input: Any, w_hidden: Any, *rest: Any, **kwargs: Any) -> int:
    return 2 * prod(x[:-1]) * (prod(w_input) + prod(w_hidden))


def _convolution_backward(gradient: Any, x: Any, w: Any, *rest: Any, **kwargs: Any) -> int:
    """torch counts the weight's gradient of a grouped convolution once for every group."""
    transposed, wanted = rest[4], rest[7]
    positions = x[2:] if transposed else gradient[2:]
    return int(sum(wanted[:2]) * 2 * x[0] * prod(positions) * prod(w))


def _grouped(left: Any, right: Any, *rest: Any, **kwargs: Any) -> int:
    return 2 * prod(left) * right[-1]


UNCOUNTED = {
    aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *rest, **kwargs: sdpa_flop_count(q, k, v),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, q, k, v, *rest, **kwargs: sdpa_backward_flop_count(gradient, q, k, v)
    ),
    aten.convolution_backward: _convolution_backward,
    aten._grouped_mm: _grouped,
    aten.mkldnn_rnn_layer: _lstm,
    aten.mkldnn_rnn_layer_backward: lambda *args, **kwargs: 2 * _lstm(*args),
}
"""What FlopCounterMode does not count on a CPU, by its own formulas."""


def flop_of_step(module: nn.Module, example: Example) -> int:
    """FLOP of forward and backward."""
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        run_step(module.train(), example, Optimizers(None))
    return int(counter.get_total_flops())


def peak_of_step(module: nn.Module, example: Example, optimizer: OptimizerMaker) -> int:
    """Most bytes alive in the second step, parameters, states and inputs included."""
    from torch.profiler import ProfilerActivity, profile

    optimizers = Optimizers(optimizer)
    run_step(module.train(), example, optimizers)
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run_step(module, example, optimizers)
    live = most = 0
    for event in profiler.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    tensors = [*module.parameters(), *module.buffers(), *example.values(), *optimizers.states()]
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return most + sum(storages.values())


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """The same draws every time, and torch's generator as it was afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
