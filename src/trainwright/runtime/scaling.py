"""fp16: the loss is multiplied before backward, so that gradients too small for its five exponent bits do not become 0.

The factor halves when a gradient overflowed (that step moves nothing) and doubles after GROWTH_STEPS without one
(Micikevicius et al., arXiv:1710.03740, section 3.2). It is kept with the checkpoint, so runs resume with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainwright.runtime.sync import EveryStep

FIRST_FACTOR = 2.0**16
GROWTH_STEPS = 2000


class LossScaled:
    """A way of keeping replicas together, with scaled losses inside it."""

    def __init__(self, inner: EveryStep) -> None:
        self._inner = inner
        self._factor = torch.tensor([FIRST_FACTOR, 0.0], dtype=torch.float64)  # and steps since it changed
        self.scale = inner.scale * FIRST_FACTOR
        self.asked: Sequence[float] = ()
        self.moving: Sequence[nn.Parameter] = inner.moving
        self.own_states = inner.own_states
        self.outer: dict[str, Tensor] = {**inner.outer, "loss_scale": self._factor}
        self.n_overflows = 0

    def begin(self) -> None:
        """As inside, with the factor that a checkpoint may have brought."""
        self._inner.begin()
        self.scale = self._inner.scale * float(self._factor[0])

    def join(self, loss: Tensor, flags: Sequence[float], step: int) -> tuple[float, float]:
        """(loss, norm) of the whole batch, unscaled; after an overflow no gradient is left and the norm is 0.

        A factor that would fall below 1 means that something else is wrong: the norm is then told as it is.
        """
        factor = float(self._factor[0])
        total, norm = self._inner.join(loss, flags, step)
        self.asked = self._inner.asked
        if math.isfinite(norm) or not math.isfinite(total) or factor < 2.0:
            for parameter in self.moving:
                if parameter.grad is not None:
                    parameter.grad.mul_(1.0 / factor)
            self._factor[1] += 1
            if self._factor[1] >= GROWTH_STEPS:
                self._change_to(2.0 * factor)
            return total / factor, norm / factor
        for parameter in self.moving:
            parameter.grad = None
        self._change_to(factor / 2.0)
        self.n_overflows += 1
        return total / factor, 0.0

    def _change_to(self, factor: float) -> None:
        self._factor.copy_(torch.tensor([factor, 0.0]))
        self.scale = self._inner.scale * factor

    def shorten(self, share: float) -> None:
        """As inside."""
        self._inner.shorten(share)

    def update(self, rate: float, step: int) -> None:
        """As inside; parameters without a gradient stay."""
        self._inner.update(rate, step)

    def meet(self, step: int, *, wanted: bool) -> bool:
        """As inside."""
        return self._inner.meet(step, wanted=wanted)

    def end(self) -> str:
        """How often a step moved nothing."""
        told = f"fp16: {self.n_overflows} steps overflowed; the loss is multiplied by {float(self._factor[0]):.0f} now"
        return " ".join(filter(None, (self._inner.end(), told)))
