"""What an optimizer's step takes: parameters per second, the norm of all gradients, and what calls add."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from trainwright.cost.footprint import STATE_BYTES
from trainwright.hardware.device import FOOTPRINTS, UpdateCalls
from trainwright.probe.clock import Clock
from trainwright.probe.pool import FAR_BYTES
from trainwright.probe.samples import KernelSample

OPTIMIZERS: dict[str, Callable[[Iterable[Tensor]], torch.optim.Optimizer]] = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, fused=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, fused=True),
}


def _parameters(n_tensors: int, n: int, device: str) -> list[Tensor]:
    parameters = [torch.zeros(n, device=device, requires_grad=True) for _ in range(n_tensors)]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    return parameters


FAR_ELEMENTS = 2**20


def measure_optimizers(clock: Clock, device: str, sizes: Iterable[int], *, with_large_step: bool) -> list[KernelSample]:
    """Updates of so many parameters, and (of kind "norm") the norm of their gradients, in a small step and a large."""
    small, large = (int(footprint) for footprint in FOOTPRINTS)
    found = [sample for n in sizes for kind in OPTIMIZERS for sample in _update(clock, kind, n, device, small)]
    if with_large_step:
        found += [s for kind in OPTIMIZERS for s in _update(clock, kind, FAR_ELEMENTS, device, large)]
    return found


def _update(clock: Clock, kind: str, n: int, device: str, footprint: int) -> list[KernelSample]:
    """Updates of ``n`` parameters, each time of others until the footprint is gone over; less one of nearly none.

    The norm is of the gradients whose turn comes next, untouched for longest.
    """
    n_updates = max(1, footprint // int(STATE_BYTES * n))
    updates = deque(OPTIMIZERS[kind](_parameters(1, n, device)) for _ in range(n_updates))
    for update in updates:
        update.step()  # makes its states

    def step() -> None:
        updates.rotate(-1)
        updates[0].step()

    whole_s = clock.time(step).calm_s
    call_s = clock.time(OPTIMIZERS[kind](_parameters(1, 8, device)).step).calm_s
    forward_s, is_far = max(whole_s - call_s, 0.2 * whole_s), footprint > FOOTPRINTS[0]
    found = [KernelSample(kind=kind, n_elements=n, forward_s=forward_s, backward_s=0.0, is_far=is_far)]
    if kind == "adamw":
        nothing = torch.zeros(8, device=device)
        whole_s = clock.after(step, lambda: _norm(updates[1 % n_updates].param_groups[0]["params"][0].grad))
        call_s = clock.after(step, lambda: _norm(nothing))
        norm_s = max(whole_s - call_s, 0.2 * whole_s)
        found.append(KernelSample(kind="norm", n_elements=n, forward_s=norm_s, backward_s=0.0, is_far=is_far))
    return found


def _norm(gradient: Tensor) -> float:
    return float(torch.nn.utils.get_total_norm([gradient]))


def measure_updates(clock: Clock, device: str, *, with_norm: bool, with_large_step: bool) -> UpdateCalls:
    """What an optimizer's step of 64 tiny tensors takes, and of one, after work that leaves nothing of it in caches."""
    call_s, tensor_s = _calls(clock, device, with_norm, COLD_BYTES)
    far_s = _calls(clock, device, with_norm, FAR_BYTES) if with_large_step else (0.0, 0.0)
    return UpdateCalls(call_s=call_s, tensor_s=tensor_s, far_call_s=far_s[0], far_tensor_s=far_s[1])


def _calls(clock: Clock, device: str, with_norm: bool, cold_bytes: int) -> tuple[float, float]:
    """(seconds of a step, of each tensor in it), gradients let go, once so many bytes were read and written."""
    cold = torch.rand(cold_bytes // 4, device=device)

    def seconds(n_tensors: int) -> float:
        parameters = _parameters(n_tensors, 8, device)
        optimizer = OPTIMIZERS["adamw"](parameters)
        gradients = [torch.full_like(parameter, 1e-3) for parameter in parameters]

        def work() -> None:
            torch.mul(cold, cold)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient

        def update() -> None:
            if with_norm:
                float(torch.nn.utils.get_total_norm(gradients))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return clock.after(work, update)

    one, many = seconds(1), seconds(64)
    tensor_s = max(many - one, 0.0) / 63.0
    return max(one - tensor_s, 0.0), tensor_s


COLD_BYTES = 2**23
"""Work over so much, read and written, comes before an update: caches hold little else afterwards."""
