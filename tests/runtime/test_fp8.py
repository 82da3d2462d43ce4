import copy
from typing import Any

import pytest
import torch
from tests.train.plans import LLAMA
from torch import Tensor

from trainwright.runtime.fp8 import use_eight_bits
from trainwright.runtime.model import build_model
from trainwright.runtime.recompute import blocks_of


def off_by(found: Tensor, wanted: Tensor) -> float:
    return float((found.detach().float() - wanted.detach()).norm() / wanted.detach().norm())


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_linear_layers_multiply_in_eight_bits_forward_and_backward(kind: str) -> None:
    config: dict[str, Any] = {**LLAMA, "num_hidden_layers": 1}
    if kind == "gpt2":
        config = {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 4, "vocab_size": 256, "n_positions": 32}
    block: Any = blocks_of(build_model(config, 0))[0].mlp.eval()
    exact = copy.deepcopy(block)
    holder = torch.nn.Module()
    holder.layers = torch.nn.ModuleList([block])
    assert use_eight_bits(holder) == (3 if kind == "llama" else 2)
    x = torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(0))  # 21 rows, no multiple of 16
    found, wanted = block(x), exact(x)
    assert 1e-4 < off_by(found, wanted) < 0.1  # e4m3 has three bits after the point
    found.float().square().sum().backward()
    wanted.square().sum().backward()
    for own, theirs in zip(block.parameters(), exact.parameters(), strict=True):
        assert 1e-4 < off_by(own.grad, theirs.grad) < 0.2
