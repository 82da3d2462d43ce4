"""The optimizer a job names, with weight decay on matrices only.

On the CPU AdamW, Adam and SGD run as torch's fused kernels: one pass over weights, gradients and states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trainwright.errors import InvalidInputError
from trainwright.jobs.job import OptimizerSettings

RateShare = Callable[[nn.Parameter], float]


def make_optimizer(
    parameters: Iterable[nn.Parameter],
    settings: OptimizerSettings,
    share_of: RateShare | None = None,
    *,
    fused: bool = True,
) -> Optimizer:
    """Build the optimizer over the trainable parameters; norms and biases (one dimension) are not decayed.

    ``share_of`` says of a parameter what share of the job's rate is its own; the loop multiplies it in each step.
    """
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            share = 1.0 if share_of is None else share_of(parameter)
            members.setdefault((share, parameter.dim() >= 2), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": params, "weight_decay": settings.weight_decay if is_matrix else 0.0, "rate_share": share}
        for (share, is_matrix), params in members.items()
    ]
    betas = (settings.beta1, settings.beta2)
    lr = settings.learning_rate
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=settings.momentum, fused=fused)
    if settings.name == "adam":
        return torch.optim.Adam(groups, lr=lr, betas=betas, fused=fused)
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=fused)
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
