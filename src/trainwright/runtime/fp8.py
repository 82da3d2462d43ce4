"""fp8: the products of linear layers inside blocks in eight bits, each tensor scaled by its largest element.

Inputs and weights in e4m3, gradients in e5m2 (Micikevicius et al., arXiv:2209.05433), sums and all else as in bf16.
GPUs of compute capability 8.9 (Ada, Hopper, Blackwell) multiply so; torch's CPU kernel does it slowly, for tests.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.errors import InvalidInputError
from trainwright.runtime.recompute import blocks_of

GRAIN = 16
"""The kernels want inner sizes that are multiples of this; layers with others stay as they are."""


def use_eight_bits(model: nn.Module) -> int:
    """Let linear layers inside the blocks multiply in fp8, in place; returns how many do.

    Row-divided layers of tensor parallelism, which have a forward of their own, stay in bf16.
    """
    found = [m for block in blocks_of(model) for m in block.modules() if _fits(m)]
    if not found:
        raise InvalidInputError(
            f"fp8 finds no linear layer in the blocks of {type(model).__name__} whose sizes are multiples of {GRAIN}",
            hint="use bf16",
        )
    for module in found:
        module.forward = partial(_multiply, module)
    return len(found)


def _fits(module: nn.Module) -> bool:
    is_linear = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    if not is_linear or "forward" in module.__dict__:
        return False
    weight: Any = module.weight
    return not any(size % GRAIN for size in weight.shape)


def _multiply(module: Any, x: Tensor) -> Tensor:
    weight = module.weight if isinstance(module, nn.Linear) else module.weight.t()  # [out, in]
    flat = x.reshape(-1, x.shape[-1])
    out: Tensor = _Product.apply(flat, weight)  # type: ignore[no-untyped-call]
    out = out.view(*x.shape[:-1], -1)
    return out if module.bias is None else out + module.bias.to(out.dtype)


class _Product(torch.autograd.Function):
    """x [n, in] times the transposed weight [out, in], in bf16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _scaled(x, weight, torch.float8_e4m3fn)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad = grads[0]
        grad_x = _scaled(grad, weight.t(), torch.float8_e5m2)
        grad_weight = _scaled(_filled(grad).t(), _filled(x).t(), torch.float8_e5m2)
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype)


def _scaled(a: Tensor, b: Tensor, kind: torch.dtype) -> Tensor:
    """a [n, k] times b [m, k] transposed, a in ``kind`` and b in e4m3."""
    a8, a_scale = _packed(a, kind)
    b8, b_scale = _packed(b, torch.float8_e4m3fn)
    return torch._scaled_mm(a8, b8.t(), scale_a=a_scale, scale_b=b_scale, out_dtype=torch.bfloat16)


def _packed(tensor: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """(the tensor in rows of ``kind``, what to multiply it by to get it back)."""
    wide = tensor.detach().float()
    scale = wide.abs().amax().clamp_min(1e-12) / torch.finfo(kind).max
    return (wide / scale).to(kind).contiguous(), scale


def _filled(tensor: Tensor) -> Tensor:
    """With rows of zeros up to a multiple of GRAIN: they add nothing to a product over rows."""
    return nn.functional.pad(tensor, (0, 0, 0, -len(tensor) % GRAIN))
