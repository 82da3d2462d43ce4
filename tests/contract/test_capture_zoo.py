"""Every model of the zoo is captured: parameters and FLOP exact, and right at a batch that was never traced."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from benchmarks.zoo import ZOO, Case, Entry, entry  # noqa: E402
from tests.capture.measured import flop_of_step, peak_of_step, seeded  # noqa: E402

from trainwright.capture.inputs import example_of  # noqa: E402
from trainwright.capture.meta import built_on_meta  # noqa: E402
from trainwright.capture.module import Captured, Setup, captured  # noqa: E402
from trainwright.capture.step import trace_step  # noqa: E402
from trainwright.cost.stack import stack  # noqa: E402
from trainwright.cost.step import estimate_step  # noqa: E402
from trainwright.hardware.parse import parse_cluster  # noqa: E402
from trainwright.jobs.inputs import parse_input  # noqa: E402
from trainwright.jobs.job import OptimizerSettings, Workload  # noqa: E402
from trainwright.jobs.strategy import Strategy  # noqa: E402
from trainwright.models.flop import backward_flop, forward_flop  # noqa: E402
from trainwright.models.saved import FP32, op_saved_bytes  # noqa: E402
from trainwright.models.spec import ModelSpec  # noqa: E402
from trainwright.runtime.mesh import Mesh  # noqa: E402
from trainwright.runtime.shard import shard_model  # noqa: E402
from trainwright.train.example import ExampleTask  # noqa: E402
from trainwright.train.optimizer import make_optimizer  # noqa: E402


def setup_of(case: Case) -> Setup:
    inputs = tuple(parse_input(text) for text in case.inputs)
    return Setup(inputs=inputs, batch=case.batch, seq=case.seq, kernels="cpu")


def captured_toy(each: Entry) -> Captured:
    return captured(each.toy.build, setup_of(each.toy), each.name)


def estimated_s(each: Entry, spec: ModelSpec) -> float:
    """Seconds of a step on a GPU, by the cost model."""
    workload = Workload(global_batch=each.toy.batch, seq=each.toy.seq or 1)
    strategy = Strategy(micro_batch=each.toy.batch, precision="bf16")
    return float(estimate_step(spec, workload, strategy, parse_cluster("H100-SXM"), stack("trainwright")).step_s)


def trained_losses(each: Entry, model: Any) -> list[float]:
    """The losses of a step as the runtime takes it, on inputs that a job makes up; every update moves something."""
    sharded = shard_model(model, Strategy(micro_batch=each.toy.batch), Mesh(sizes={}, indexes={}))
    optimizer = make_optimizer(sharded.parameters, OptimizerSettings())
    task = ExampleTask(inputs=setup_of(each.toy).inputs, global_batch=each.toy.batch, seq=each.toy.seq or 1, seed=0)
    drawn, targets = task.rows(0, 0, 1)
    found = []
    for loss in sharded.rounds([(drawn.split(each.toy.batch)[0], targets)], 1 / task.per_step, nullcontext, str):
        assert any(p.grad is not None for p in sharded.parameters)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found.append(float(loss))
    return found


def saved_bytes(spec: ModelSpec, batch: int, seq: int) -> float:
    return sum(op_saved_bytes(op, batch, seq, FP32) * block.repeats for block in spec.blocks for op in block.ops)


@pytest.mark.parametrize("each", ZOO, ids=lambda each: each.name)
def test_captured_model_is_the_model(each: Entry) -> None:
    found = captured_toy(each)
    spec, batch, seq = found.spec, each.toy.batch, each.toy.seq or 1
    with seeded():
        real: Any = each.toy.build()
        example = example_of(setup_of(each.toy).inputs, batch, seq, "cpu")
        counted = flop_of_step(real, example)
    assert spec.n_parameters == sum(p.numel() for p in real.parameters())
    assert forward_flop(spec, batch, seq) + backward_flop(spec, batch, seq) == pytest.approx(counted, rel=0.005)
    assert all(parameter.is_meta for parameter in found.module.parameters())
    assert spec.unknown_flop_share == 0.0
    assert estimated_s(each, spec) > 0
    assert all(math.isfinite(loss) for loss in trained_losses(each, real))


@pytest.mark.parametrize("each", ZOO, ids=lambda each: each.name)
def test_captured_model_is_right_at_a_batch_never_traced(each: Entry) -> None:
    found = captured_toy(each)
    batch, seq = 3 * each.toy.batch, each.toy.seq or 1
    fresh = trace_step(found.module, example_of(setup_of(each.toy).inputs, batch, seq), kernels="cpu")
    assert forward_flop(found.spec, batch, seq) == pytest.approx(fresh.flop("forward"), rel=0.005)
    assert backward_flop(found.spec, batch, seq) == pytest.approx(fresh.flop("backward"), rel=0.015)
    assert saved_bytes(found.spec, batch, seq) == pytest.approx(fresh.saved_bytes, rel=0.012)  # an LSTM rounds to pages


@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral", "t5", "vae", "gat", "dbn"])
def test_traced_peak_is_the_allocators(name: str) -> None:
    case = entry(name).toy
    inputs = setup_of(case).inputs
    with seeded():
        example = example_of(inputs, case.batch, case.seq or 1, "cpu")
        measured = peak_of_step(case.build(), example, torch.optim.AdamW)
    traced = trace_step(
        built_on_meta(case.build),
        example_of(inputs, case.batch, case.seq or 1),
        optimizer=torch.optim.AdamW,
        kernels="cpu",
    )
    assert traced.peak_bytes == pytest.approx(measured, rel=0.02)


@pytest.mark.parametrize("name", ["unet", "lstm-lm"])
def test_peak_with_onednns_own_copies(name: str) -> None:
    case = entry(name).timed
    inputs, seq = setup_of(case).inputs, case.seq or 1
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # oneDNN's private copies depend on how many threads share the work
    try:
        with seeded():
            measured = peak_of_step(case.build(), example_of(inputs, 4, seq, "cpu"), torch.optim.SGD)
    finally:
        torch.set_num_threads(n_threads)
    traced = trace_step(built_on_meta(case.build), example_of(inputs, 4, seq), optimizer=torch.optim.SGD, kernels="cpu")
    assert traced.peak_bytes == pytest.approx(measured, rel=0.02)
