"""Kinds of kernels that capture names are those that the probe measures and the cost model prices."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainwright.capture.module import Setup, captured
from trainwright.cost.memory import step_memory
from trainwright.cost.memory_rules import memory_rules
from trainwright.jobs.inputs import parse_input
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import KERNELS, PRODUCTS
from trainwright.probe.convolution import SHAPES
from trainwright.probe.kernels import OF_AUTOCAST, TRIALS
from trainwright.probe.updates import OPTIMIZERS


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 2, stride=2), nn.BatchNorm2d(16),
            nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 16, 5, groups=16),
            nn.Dropout(), nn.ConvTranspose2d(16, 8, 2, stride=2), nn.MaxPool2d(2), nn.GELU(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).mean()


def test_each_op_tells_its_kind():
    setup = Setup(inputs=(parse_input("float32[batch,3,32,32]"),), batch=2)
    spec = captured(Small, setup, "small").spec
    kinds = [op.kernel for block in spec.blocks for op in block.ops if op.kernel]
    assert kinds == [
        "convolution", "strided_convolution", "batch_norm", "depthwise_convolution", "wide_depthwise_convolution",
        "dropout", "transposed_convolution", "max_pool", "gelu",
    ]  # fmt: skip


def test_the_probe_measures_what_capture_names():
    assert set(TRIALS) == {*KERNELS, *OF_AUTOCAST}
    assert set(SHAPES) | {"lstm"} == set(PRODUCTS)
    assert not set(OPTIMIZERS) & set(KERNELS)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.frozen = nn.ModuleList(nn.Linear(64, 64) for _ in range(4)).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.frozen:
            x = layer(x)
        return self.second(self.first(x)).square().mean()


def test_memory_is_what_the_trace_saw():
    """Parameters that are tied inside one block, frozen ones in a block that repeats from the start."""
    setup = Setup(inputs=(parse_input("float32[batch,64]"),), batch=32, kernels="cpu")
    found = captured(Tied, setup, "tied")
    job = Workload(global_batch=32, seq=1, clip=False)
    parts, _ = step_memory(found.spec, job, Strategy(micro_batch=32, precision="fp32"), memory_rules("trainwright"))
    trained = 64 * 64 + 2 * 64
    assert parts["parameters"] == 4 * (trained + 4 * (64 * 64 + 64))
    assert sum(parts.values()) == pytest.approx(found.trace.peak_bytes + 2 * 4 * trained, rel=1e-6)
