"""What the framework costs per kernel, whatever the kernel does: tiny ops through modules and autograd."""

from __future__ import annotations

import torch

from trainwright.probe.clock import Clock
from trainwright.probe.samples import DispatchSample
from trainwright.probe.updates import measure_updates


class _Chain(torch.nn.Module):
    """Sixteen linears with the small ops of a norm between them: 96 kernels, as Python modules issue them."""

    n_layers = 16
    kernels_per_layer = 6

    def __init__(self, device: str) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(8, 8, bias=False, device=device) for _ in range(16))

    def forward(self, x_bh: torch.Tensor) -> torch.Tensor:
        """Linear, square, mean, rsqrt, scale, add."""
        for layer in self.layers:
            y_bh = layer(x_bh)
            x_bh = x_bh + y_bh * torch.rsqrt(y_bh.pow(2).mean(-1, keepdim=True))
        return x_bh


def measure_dispatch(clock: Clock, device: str, *, with_large_step: bool) -> DispatchSample:
    """Time the chain on 4 x 8 numbers, where the arithmetic is nothing."""
    chain = _Chain(device)
    n_kernels = chain.n_layers * chain.kernels_per_layer
    x_bh = torch.randn(4, 8, device=device)
    forward = clock.time(lambda: chain(x_bh)).calm_s
    both = clock.time(lambda: chain(x_bh).sum().backward()).calm_s
    with torch.no_grad():
        bare = clock.time(lambda: torch.add(x_bh, x_bh)).calm_s
    return DispatchSample(
        forward_s=forward / n_kernels,
        backward_s=max(both - forward, 0.0) / n_kernels,
        bare_s=bare,
        update=measure_updates(clock, device, with_norm=False, with_large_step=with_large_step),
        clipped_update=measure_updates(clock, device, with_norm=True, with_large_step=with_large_step),
    )
