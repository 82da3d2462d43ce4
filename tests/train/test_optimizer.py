"""Every optimizer a job can name learns, and a run stopped and resumed ends with the bits of one left alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.train.plans import tiny_job, tiny_plan
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from trainwright.jobs.job import OptimizerSettings, RateSchedule, Stopping
from trainwright.jobs.strategy import Strategy
from trainwright.records.run import RunRecord
from trainwright.records.step import read_steps
from trainwright.runtime.collective import norm_of
from trainwright.runtime.scaling import LossScaled
from trainwright.runtime.sync import EveryStep
from trainwright.train.eightbit import SMALLEST, AdamW8bit, dynamic_codes, pack, unpack
from trainwright.train.optimizer import clip, make_optimizer
from trainwright.train.run import run_plan

STEADY = RateSchedule(name="constant", warmup_share=0.0)
CASES: dict[str, tuple[str, str]] = {
    "sgd": ("sgd", "fp32"), "adam": ("adam", "fp32"), "adamw8bit": ("adamw8bit", "fp32"),
    "adafactor": ("adafactor", "fp32"), "muon": ("muon", "fp32"), "adamw in fp16": ("adamw", "fp16"),
}  # fmt: skip


def run(folder: Path, case: str, steps: int) -> RunRecord:
    name, precision = CASES[case]
    rate = 0.3 if name in ("sgd", "adafactor") else 1e-2
    settings = OptimizerSettings(name=name, learning_rate=rate)  # type: ignore[arg-type]
    job = tiny_job(optimizer=settings, schedule=STEADY, stopping=Stopping(steps=steps))
    plan: Any = Strategy(micro_batch=4, precision=precision)  # type: ignore[arg-type]
    return run_plan(tiny_plan(folder, job=job, strategy=plan))


@pytest.mark.parametrize("case", CASES)
def test_it_learns_and_goes_on_with_the_same_bits(tmp_path: Path, case: str) -> None:
    record = run(tmp_path / "whole", case, 6)
    assert record.first_loss is not None
    assert record.last_loss is not None
    assert record.last_loss < record.first_loss - 0.3
    run(tmp_path / "parts", case, 4)
    (tmp_path / "parts" / "run.json").unlink()
    again = run(tmp_path / "parts", case, 6)
    assert again.resumed_from == 4
    whole, parts = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "adafactor"])
def test_gradients_clipped_within_the_update_move_as_far_as_those_clipped_before(name: Any) -> None:
    ends = []
    for clips_itself in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(32, 16)
        settings = OptimizerSettings(name=name, learning_rate=0.1)
        optimizer = make_optimizer(model.parameters(), settings)
        sharded: Any = SimpleNamespace(parameters=list(model.parameters()), after_update=lambda: None)
        sync = EveryStep(sharded, optimizer)
        for size in (30.0, 1e-4, 3.0):
            (size * model(torch.randn(8, 32))).square().sum().backward()
            norm = norm_of([p.grad for p in model.parameters() if p.grad is not None])
            if clips_itself:
                clip(sync, norm, 1.0)
            else:
                clip_grad_norm_(model.parameters(), 1.0)
            sync.update(0.1, 1)
        ends.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    assert torch.allclose(*ends, rtol=1e-5, atol=1e-7)


def test_eight_bits_follow_adamw() -> None:
    torch.manual_seed(0)
    target = torch.randn(96, 64)
    ends = []
    for kind in (AdamW8bit, torch.optim.AdamW):
        weight = nn.Parameter(torch.zeros(96, 64))
        assert weight.numel() >= SMALLEST
        optimizer: Any = kind([{"params": [weight], "weight_decay": 0.01}], lr=0.05, betas=(0.9, 0.95))
        for _ in range(60):
            loss = (weight - target).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append((float(loss.detach()), weight.detach()))
        if kind is AdamW8bit:
            held = sum(t.nbytes for t in optimizer.state[weight].values())
            assert held < 2.1 * weight.numel()
    assert ends[0][0] == pytest.approx(ends[1][0], rel=0.25)
    assert float((ends[0][1] - ends[1][1]).abs().mean()) < 0.03


@pytest.mark.parametrize("signed", [True, False])
def test_packing_what_was_packed_changes_nothing(signed: bool) -> None:
    codes = dynamic_codes(signed=signed)
    values = torch.randn(3, 500).exp() * (torch.randn(3, 500).sign() if signed else 1.0)
    packed, scales = pack(values, codes)
    again = unpack(packed, scales, codes)
    assert float(((again - values).abs() / values.abs()).mean()) < 0.05
    assert all(torch.equal(a, b) for a, b in zip(pack(again, codes), (packed, scales), strict=True))
    assert not signed or bool((again[values != 0] != 0).any())


class Gradients:
    """What LossScaled is put around, with gradients and norms as told."""

    def __init__(self, weight: nn.Parameter, norms: list[float]) -> None:
        self.scale, self.moving, self.asked, self.own_states = 1.0, [weight], (), False
        self.outer: dict[str, Tensor] = {}
        self._norms = norms

    def join(self, loss: Tensor, _flags: Any, _step: int) -> tuple[float, float]:
        return float(loss), self._norms.pop(0)


def test_an_overflow_moves_nothing_and_halves_the_factor() -> None:
    weight = nn.Parameter(torch.zeros(1))
    inner: Any = Gradients(weight, [float("inf"), 8.0])
    scaled = LossScaled(inner)
    first = scaled.scale
    weight.grad = torch.ones(1)
    assert scaled.join(torch.tensor(2.0 * first), (), 1) == (2.0, 0.0)
    assert weight.grad is None
    assert scaled.scale == first / 2
    weight.grad = torch.full((1,), 8.0)
    loss, norm = scaled.join(torch.tensor(3.0 * first / 2), (), 2)
    assert (loss, norm) == (3.0, 16.0 / first)
    assert weight.grad.item() == 16.0 / first
    assert scaled.n_overflows == 1


@pytest.mark.distributed
@pytest.mark.slow
def test_muon_moves_a_pipelined_gpt2_as_one_process_does(tmp_path: Path) -> None:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 256, "n_positions": 64}
    gpt2 = {"model_type": "gpt2", **sizes, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    job = tiny_job(optimizer=OptimizerSettings(name="muon", learning_rate=1e-2), stopping=Stopping(steps=3))
    losses = []
    for name, fields in (("alone", {}), ("stages", {"pp": 2})):
        strategy = Strategy(micro_batch=4, precision="fp32", **fields)  # type: ignore[arg-type]
        run_plan(tiny_plan(tmp_path / name, job=job, strategy=strategy, model=gpt2))
        losses.append([step.loss for step in read_steps(tmp_path / name)])
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
