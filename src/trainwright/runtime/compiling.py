"""torch.compile on the model's blocks, each by itself: they are alike, so one compilation serves all."""

from __future__ import annotations

import torch
from torch import nn

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Strategy
from trainwright.runtime.recompute import blocks_of


def compile_blocks(model: nn.Module, strategy: Strategy) -> None:
    """Compile every block's forward, in place; hooks and collectives around blocks stay as they are.

    Raises InvalidInputError where collectives run inside a block: compiled code would not know of them.
    """
    inside = [name for name in ("tp", "cp", "ep") if getattr(strategy, name) > 1]
    if strategy.precision == "fp8":
        inside.append("fp8")
    if inside:
        raise InvalidInputError(
            f"compile does not go with {' and '.join(inside)}: its blocks hold what torch.compile cannot see through",
            hint="set training.compile = false, or plan with dp, zero_stage and pp only",
        )
    for block in blocks_of(model):
        block.forward = torch.compile(block.forward, dynamic=False)
