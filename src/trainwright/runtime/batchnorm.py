"""Batch norm over several processes: statistics of the whole micro-batch of all replicas, as one process has them.

torch's SyncBatchNorm needs a GPU. Frozen norms keep their statistics, and evaluation needs none: both stay as they are.
A norm costs two small collectives a micro-batch, one forward and one backward, and keeps what torch's own keeps.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from trainwright.runtime.collective import Group, all_reduce
from trainwright.runtime.differentiable import gather_parts


def join_batch_norms(model: nn.Module, group: Group) -> None:
    """Let every batch norm of the model take its statistics over the group; names and weights stay as they are."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.forward = partial(_joined, module, group)  # type: ignore[method-assign]


def batch_norm_told(model: nn.Module, global_batch: int, n_at_once: int) -> list[str]:
    """What to say where the batch does not go through at once: then one process with all rows would differ."""
    has_norm = any(isinstance(module, _BatchNorm) for module in model.modules())
    if not has_norm or n_at_once >= global_batch:
        return []
    return [
        f"batch normalization takes its statistics over {n_at_once} rows, not over the batch of {global_batch}; "
        f"with a micro-batch {global_batch // n_at_once} times as large they would be the batch's"
    ]


def _joined(norm: _BatchNorm, group: Group, x: Tensor) -> Tensor:
    if not norm.training:
        return functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0, norm.eps)
    made, n, mean, variance = _OverAll.apply(x, norm.weight, norm.bias, norm.eps, group)  # type: ignore[no-untyped-call]
    _remember(norm, mean, variance * n / (n - 1))
    normed: Tensor = made
    return normed


class _OverAll(torch.autograd.Function):
    """(normed, rows of each channel in all, their mean, their variance), by torch's kernels and two collectives.

    Forward each process hands round its own mean and variance, which are joined as Chan, Golub and LeVeque do
    (STAN-CS-79-773); backward the two sums that the gradient of x takes over the batch are summed over the processes
    (arXiv:1502.03167, section 3). Gradients of weight and bias are those of the own rows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, group: Group) -> Any:
        wide = x.new_zeros(2, x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))
        own = torch.stack(torch.batch_norm_update_stats(x, wide[0], wide[1], 0.0))  # sums as wide as what is remembered
        counted = torch.cat([own.flatten(), own.new_tensor([x.numel() / x.shape[1]])])
        everyone = gather_parts(counted[None], group, 0)
        rows = everyone[:, -1:]
        means, variances = everyone[:, :-1].chunk(2, dim=1)
        n = rows.sum()
        mean = (rows * means).sum(0) / n
        variance = (rows * (variances + (means - mean).square())).sum(0) / n
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps), n)
        ctx.eps, ctx.group = eps, group
        ctx.mark_non_differentiable(n, mean, variance)
        return functional.batch_norm(x, mean, variance, weight, bias, False, 0, eps), n, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, n = ctx.saved_tensors
        _, for_weight, for_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, None, None, mean, inverse, True, ctx.eps, [False, True, True]
        )
        sums = all_reduce(torch.stack([for_weight, for_bias]).to(mean.dtype), ctx.group) / n
        for_x = None
        if ctx.needs_input_grad[0]:
            scale = inverse if weight is None else weight * inverse
            constant = functional.batch_norm(
                x, mean, torch.ones_like(mean), -scale * inverse * sums[0], -scale * sums[1], False, 0, 0.0
            )
            scale = scale.reshape(1, -1, *(1 for _ in x.shape[2:]))
            alike = constant.dtype == scale.dtype
            for_x = constant.addcmul_(grad, scale) if alike else torch.addcmul(constant, grad, scale).to(x.dtype)
        return for_x, for_weight if weight is not None else None, for_bias if weight is not None else None, None, None


@torch.no_grad()
def _remember(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance, share)
