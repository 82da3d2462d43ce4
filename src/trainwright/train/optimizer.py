"""The optimizer a job names, with weight decay on matrices only.

On the CPU AdamW, Adam and SGD run as torch's fused kernels: one pass over weights, gradients and states.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trainwright.errors import InvalidInputError
from trainwright.jobs.job import OptimizerSettings


def make_optimizer(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> Optimizer:
    """Build the optimizer over the trainable parameters; norms and biases (one dimension) are not decayed."""
    trainable = [p for p in parameters if p.requires_grad]
    matrices = [p for p in trainable if p.dim() >= 2]
    others = [p for p in trainable if p.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": params, "weight_decay": decay}
        for params, decay in ((matrices, settings.weight_decay), (others, 0.0))
        if params
    ]
    betas = (settings.beta1, settings.beta2)
    lr = settings.learning_rate
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=settings.momentum, fused=True)
    if settings.name == "adam":
        return torch.optim.Adam(groups, lr=lr, betas=betas, fused=True)
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
    if settings.name == "adafactor":
        return torch.optim.Adafactor(groups, lr=lr)
    raise InvalidInputError(
        f"the optimizer {settings.name} cannot run here yet", hint="use adamw, adam, sgd or adafactor"
    )


def clip(parameters: Iterable[nn.Parameter], norm: float, limit: float | None) -> None:
    """Scale all gradients so that their norm, already known, is at most ``limit``; within it nothing is touched."""
    if limit is not None and (scale := limit / (norm + 1e-6)) < 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(scale)
