"""Recomputation: give up activations in forward, make them again in backward."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Recompute

KEPT = (
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
)
"""What ``selective`` keeps: results that cost arithmetic. Norms, rotary, activations and casts are made again."""


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The model's repeated blocks in order: the longest ModuleList, as in every transformer of the zoo."""
    lists: list[nn.ModuleList] = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    if not lists:
        raise InvalidInputError(
            f"{type(model).__name__} has no repeated blocks", hint="keep them in an nn.ModuleList, or do not recompute"
        )
    return list(sorted(lists, key=len)[-1])


def recompute_blocks(model: nn.Module, how: Recompute, every: int = 1) -> None:
    """Wrap every k-th block's forward: ``full`` keeps only its input, ``selective`` also what KEPT lists."""
    if how == "none":
        return
    for block in blocks_of(model)[::every]:
        block.forward = partial(_recomputed, block.forward, how)


def _recomputed(forward: Callable[..., Any], how: Recompute, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    if how == "full":
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    contexts = partial(create_selective_checkpoint_contexts, _policy)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _policy(_context: object, operator: Any, *_args: Any, **_kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operator in KEPT else CheckpointPolicy.PREFER_RECOMPUTE
