"""Cross-entropy summed over tokens, on whole logits or on logits divided over the vocabulary."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainwright.runtime.collective import Group, all_reduce


def loss_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """-sum log softmax(logits)[target] in nats; logits [..., vocabulary], targets [...]; -100 is left out.

    Targets may be shares of the classes instead, [..., vocabulary]: -sum share log softmax(logits).
    """
    if targets.is_floating_point():
        return functional.cross_entropy(logits.flatten(0, -2), targets.flatten(0, -2), reduction="sum")
    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="sum")


def divided_loss_sum(logits: Tensor, targets: Tensor, begin: int, group: Group) -> Tensor:
    """The same where this process holds the logits of ids from ``begin`` on.

    Three numbers a token travel: the largest logit, the sum of exponentials, the target's logit (Shoeybi et al.,
    arXiv:1909.08053, section 3). Works in fp32.
    """
    loss: Tensor = _Divided.apply(logits.flatten(0, -2).float(), targets.flatten(), begin, group)  # type: ignore[no-untyped-call]
    return loss


class _Divided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, begin: int, group: Group) -> Tensor:
        largest = all_reduce(logits.amax(dim=-1), group, largest=True)
        local = targets - begin
        outside = (local < 0) | (local >= logits.shape[-1])
        local = local.masked_fill(outside, 0)
        shifted = logits - largest[:, None]
        wanted = shifted.gather(1, local[:, None])[:, 0].masked_fill(outside, 0.0)
        exponentials = shifted.exp_()
        both = all_reduce(torch.stack([exponentials.sum(dim=-1), wanted]), group)
        ignored = targets == -100
        ctx.save_for_backward(exponentials.div_(both[0][:, None]), local, outside, ignored)
        return (both[0].log() - both[1]).masked_fill(ignored, 0.0).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        probabilities, local, outside, ignored = ctx.saved_tensors
        grad = probabilities  # nobody reads it again: turned into the gradient in place
        grad[torch.arange(len(local), device=local.device), local] -= (~outside).to(grad.dtype)
        grad.mul_(grads[0])
        return grad.masked_fill_(ignored[:, None], 0.0), None, None, None
