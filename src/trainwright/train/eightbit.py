"""AdamW with its two moments in eight bits (Dettmers et al., arXiv:2110.02861): a byte an element and a scale a block.

Written here because bitsandbytes has these optimizers as CUDA kernels only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

BLOCK = 256
"""Elements that share a scale."""
SMALLEST = 4096
"""Tensors of fewer elements keep moments in fp32: norms and biases, whose moments weigh nothing."""
MOMENTS = ("exp_avg", "exp_avg_sq")


def dynamic_codes(*, signed: bool) -> Tensor:
    """The 256 values that a byte stands for, in ascending order, from -1 (or 0) to 1.

    Each decade below 1 has twice as many values as the one under it (arXiv:2110.02861, section 2.1).

    >>> codes = dynamic_codes(signed=True)
    >>> len(codes), float(codes[0]), float(codes[-1]), 0.0 in codes.tolist()
    (256, -1.0, 1.0, True)
    """
    found = [0.0, 1.0]
    for decade in range(7):
        n = 2 ** (decade + (0 if signed else 1))
        edges = torch.linspace(0.1, 1, n + 1, dtype=torch.float64)
        means = ((edges[:-1] + edges[1:]) / 2 * 10.0 ** (decade - 6)).tolist()
        found += means
        if signed:  # -1 stands in the place of the smallest
            found += [-mean for mean in means] if decade else [-1.0]
    return torch.tensor(sorted(found), dtype=torch.float32)


def pack(values: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """(bytes in the shape of the values, a scale for each BLOCK of them): each value's nearest code of its scale.

    Without a sign only 0 itself becomes 0: the update divides by these.
    """
    padded = nn.functional.pad(values.reshape(-1), (0, -values.numel() % BLOCK)).view(-1, BLOCK)
    scales = padded.abs().amax(dim=1).clamp_min_(torch.finfo(torch.float32).tiny)
    middles = (codes[1:] + codes[:-1]) / 2
    nearest = torch.bucketize(padded / scales[:, None], middles)
    if codes[0] == 0:
        nearest[(nearest == 0) & (padded > 0)] = 1
    return nearest.to(torch.uint8).view(-1)[: values.numel()].view_as(values), scales


def unpack(packed: Tensor, scales: Tensor, codes: Tensor) -> Tensor:
    """What pack made, as fp32."""
    values = codes[packed.reshape(-1).long()]
    return values.mul_(scales.repeat_interleave(BLOCK)[: values.numel()]).view_as(packed)


class AdamW8bit(Optimizer):
    """AdamW whose moments are unpacked, moved and packed again, a parameter at a time.

    Of the second moment the root is packed: it has half the decades, and the update's error is then the code's.
    """

    def __init__(self, groups: Iterable[Any], lr: float, betas: tuple[float, float], eps: float = 1e-8) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
        self._codes_by_device: dict[torch.device, dict[str, Tensor]] = {}

    def _codes(self, device: torch.device) -> dict[str, Tensor]:
        if device not in self._codes_by_device:
            signed = {"exp_avg": True, "exp_avg_sq": False}
            self._codes_by_device[device] = {m: dynamic_codes(signed=s).to(device) for m, s in signed.items()}
        return self._codes_by_device[device]

    def unpacked(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """The parameter's states in fp32 by name, as a checkpoint keeps them: packing those again gives the same."""
        state = self.state.get(parameter, {})
        found = {key: value for key, value in state.items() if key in ("step", *MOMENTS)}
        for moment in MOMENTS:
            if f"{moment}_packed" in state:
                packed, scales = state[f"{moment}_packed"], state[f"{moment}_scales"]
                found[moment] = unpack(packed, scales, self._codes(packed.device)[moment])
                if moment == "exp_avg_sq":
                    found[moment].square_()
        return found

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        state = self.unpacked(parameter) or {
            "step": torch.zeros(()),
            **{moment: torch.zeros_like(parameter, memory_format=torch.contiguous_format) for moment in MOMENTS},
        }
        state["step"] += 1
        gradient = parameter.grad
        assert gradient is not None
        (beta1, beta2), n = group["betas"], float(state["step"])
        first, second = (state[moment] for moment in MOMENTS)
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        root = (second / (1 - beta2**n)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(first, root, value=-group["lr"] / (1 - beta1**n))
        self.state[parameter] = state
        if parameter.numel() < SMALLEST:
            return
        for moment in MOMENTS:
            values = state.pop(moment)
            packed, scales = pack(
                values.sqrt_() if moment == "exp_avg_sq" else values, self._codes(parameter.device)[moment]
            )
            state |= {f"{moment}_packed": packed, f"{moment}_scales": scales}
