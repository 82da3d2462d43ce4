"""The optimizer a job names, with weight decay on matrices only.

On the CPU AdamW, Adam and SGD run as torch's fused kernels: one pass over weights, gradients and states. Muon (Jordan,
kellerjordan.github.io/posts/muon, with the scale of arXiv:2502.16982 so that AdamW's rates serve) moves the matrices of
the blocks, AdamW all else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trainwright.errors import InvalidInputError
from trainwright.jobs.job import OptimizerSettings
from trainwright.runtime.recompute import blocks_of
from trainwright.runtime.shard import Sharded
from trainwright.runtime.share import whole
from trainwright.runtime.sync import Sync
from trainwright.train.eightbit import AdamW8bit

RateShare = Callable[[nn.Parameter], float]


def make_optimizer(
    parameters: Iterable[nn.Parameter],
    settings: OptimizerSettings,
    share_of: RateShare | None = None,
    *,
    matrices: frozenset[nn.Parameter] = frozenset(),
    fused: bool = True,
) -> Optimizer:
    """Build the optimizer over the trainable parameters; norms and biases (one dimension) are not decayed.

    ``share_of`` says of a parameter what share of the job's rate is its own; the loop multiplies it in each step.
    ``matrices`` are those of the blocks, which Muon moves.
    """
    members: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            share = 1.0 if share_of is None else share_of(parameter)
            orthogonal = settings.name == "muon" and parameter in matrices
            members.setdefault((share, parameter.dim() >= 2, orthogonal), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {
            "params": params,
            "weight_decay": settings.weight_decay if is_matrix else 0.0,
            "rate_share": share,
            "orthogonal": orthogonal,
        }
        for (share, is_matrix, orthogonal), params in members.items()
    ]
    betas = (settings.beta1, settings.beta2)
    lr = settings.learning_rate
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=settings.momentum, fused=fused)
    if settings.name == "adam":
        return torch.optim.Adam(groups, lr=lr, betas=betas, fused=fused)
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=fused)
    if settings.name == "adamw8bit":
        return AdamW8bit(groups, lr=lr, betas=betas)
    if settings.name == "adafactor":
        return torch.optim.Adafactor(groups, lr=lr)
    return _muon(groups, settings, fused=fused)


class Both(Optimizer):
    """Two optimizers over different parameters as one."""

    def __init__(self, first: Optimizer, second: Optimizer) -> None:
        super().__init__([*first.param_groups, *second.param_groups], {})
        self._parts = (first, second)
        for part in self._parts:
            part.state = self.state
        at = len(first.param_groups)
        first.param_groups, second.param_groups = self.param_groups[:at], self.param_groups[at:]

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of each."""
        assert closure is None
        for part in self._parts:
            part.step()


def _muon(groups: list[dict[str, Any]], settings: OptimizerSettings, *, fused: bool) -> Optimizer:
    lr, betas = settings.learning_rate, (settings.beta1, settings.beta2)
    matrices = [group for group in groups if group["orthogonal"]]
    others = [group for group in groups if not group["orthogonal"]]
    if not matrices or not others:
        raise InvalidInputError(
            "muon moves matrices inside blocks, and AdamW all else; this model has only one of the two",
            hint="use adamw",
        )
    muon = torch.optim.Muon(matrices, lr=lr, momentum=settings.momentum, adjust_lr_fn="match_rms_adamw")
    return Both(muon, torch.optim.AdamW(others, lr=lr, betas=betas, fused=fused))


def refuse_parts(settings: OptimizerSettings, sharded: Sharded) -> None:
    """Raise InvalidInputError where an optimizer that looks at whole matrices would get parts of them."""
    divided = [name for name, share in sharded.shares.items() if share != whole(share.shape)]
    if settings.name in ("muon", "adafactor") and divided:
        raise InvalidInputError(
            f"{settings.name} looks at whole matrices, and this strategy divides {len(divided)} of them",
            hint="use dp, cp or pp without zero_stage, or adamw",
        )


def block_matrices(settings: OptimizerSettings, sharded: Sharded) -> frozenset[nn.Parameter]:
    """The matrices of the blocks where Muon is to move them; other optimizers tell no parameters apart."""
    if settings.name != "muon":
        return frozenset()
    inside = {id(p) for block in blocks_of(sharded.model) for p in block.parameters()}
    mine = {name for name, p in sharded.named.items() if id(p) in inside}
    return frozenset(p for name, p in sharded.local.items() if p.dim() == 2 and name in mine)


def clip(sync: Sync, norm: float, limit: float | None) -> None:
    """Scale all gradients so that their norm, already known, is at most ``limit``; within it nothing is touched."""
    if limit is not None and norm > limit:
        sync.shorten(limit / norm)
