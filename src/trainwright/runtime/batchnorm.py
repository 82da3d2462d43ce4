"""Batch norm over several processes: statistics of the whole micro-batch of all replicas, as one process has them.

torch's SyncBatchNorm needs a GPU. Frozen norms keep their statistics, and evaluation needs none: both stay as they are.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainwright.runtime.collective import Group
from trainwright.runtime.differentiable import enter_columns, sum_rows


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
    """Mean and variance summed over the group forward, and so their gradients backward (arXiv:1711.07240)."""
    if not norm.training:
        return functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0, norm.eps)
    dims = [dim for dim in range(x.dim()) if dim != 1]
    shape = [1, -1, *(1 for _ in dims[1:])]
    wide = x.float()
    n_here = wide.new_tensor([x.numel() / x.shape[1]])
    sums = _total(torch.cat([wide.sum(dims), n_here]), group)
    n, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
    centred = wide - mean.reshape(shape)
    variance = _total(centred.square().sum(dims), group) / n
    _remember(norm, mean.detach(), variance.detach() * n / (n - 1))
    made = centred * torch.rsqrt(variance + norm.eps).reshape(shape)
    if norm.affine:
        made = made * norm.weight.reshape(shape) + norm.bias.reshape(shape)
    return made.to(x.dtype)


def _total(values: Tensor, group: Group) -> Tensor:
    return enter_columns(sum_rows(values, group), group)


@torch.no_grad()
def _remember(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance, share)
