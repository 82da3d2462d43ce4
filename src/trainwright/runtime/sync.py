"""How replicas keep together: in every step, every few steps, or each at its own pace within a bound.

all_reduce: gradients are summed in every step. server: process 0 alone holds the optimizer, gradients go to it and
weights come back (Li et al., OSDI 2014). local_sgd: replicas step alone and average their weights every few steps
(Stich, arXiv:1805.09767). diloco: the same, and what the replicas moved is the gradient of an outer Nesterov step
(Douillard et al., arXiv:2311.08105). async_server is in runtime/server.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainwright.errors import InvalidInputError
from trainwright.jobs.job import SyncSettings
from trainwright.runtime.collective import (
    AGREEMENT,
    all_reduce,
    broadcast_together,
    norm_of,
    reduce_gradients,
    sum_gradients,
)
from trainwright.runtime.shard import Sharded


class Sync(Protocol):
    """What the loop asks of a way to keep replicas together; ``step`` counts the steps done, this one included.

    ``scale`` multiplies a replica's loss: the number of replicas where each steps by its own part of the batch.
    ``asked`` are sums over the processes of the flags last given to join, once they are known, else zeros.
    ``moving`` are the parameters whose gradients the backward leaves. ``own_states``: every replica has its own
    optimizer states. ``outer``: tensors by name that a checkpoint keeps too.
    """

    scale: float
    moving: Sequence[nn.Parameter]
    asked: Sequence[float]
    own_states: bool
    outer: dict[str, Tensor]

    def begin(self) -> None:
        """Once, when weights and states are as they shall be at the start."""

    def join(self, loss: Tensor, flags: Sequence[float], step: int) -> tuple[float, float]:
        """After the backward: (loss, gradient norm) of what the next update stands on."""
        ...

    def shorten(self, share: float) -> None:
        """Multiply the gradients that the next update stands on by ``share``, to clip them."""

    def update(self, rate: float, step: int) -> None:
        """Move the weights; afterwards no gradient is left."""

    def meet(self, step: int, *, wanted: bool) -> bool:
        """Whether all replicas hold the same weights after this step, which they shall where ``wanted`` if they can."""
        ...

    def end(self) -> str:
        """Once, at the end; a sentence on how it went, or nothing."""
        ...


class EveryStep:
    """Gradients are summed over the replicas in every step."""

    def __init__(self, sharded: Sharded, optimizer: Optimizer) -> None:
        self.scale = 1.0
        self.moving: Sequence[nn.Parameter] = sharded.parameters
        self.asked: Sequence[float] = ()
        self.own_states = False
        self.outer: dict[str, Tensor] = {}
        self._sharded = sharded
        self._optimizer = optimizer

    def begin(self) -> None:
        """Replicas begin alike."""

    def join(self, loss: Tensor, flags: Sequence[float], step: int) -> tuple[float, float]:
        """Sum loss and gradients over all."""
        total, norm, self.asked = self._sharded.join(loss, flags)
        return total, norm

    def shorten(self, share: float) -> None:
        """In the pass over them that a fused optimizer makes anyway (a quarter of its time saved), else here."""
        if self._optimizer.defaults.get("fused"):
            self._divisor(torch.tensor(1.0 / share))
        else:
            scale_all(gradients_of(self.moving), share)

    def update(self, rate: float, step: int) -> None:
        """The optimizer's step; its rates are set already."""
        self._optimizer.step()
        self._divisor(None)
        for parameter in self.moving:
            parameter.grad = None
        self._sharded.after_update()

    def _divisor(self, divisor: Tensor | None) -> None:
        """What a fused optimizer divides gradients by, as torch's gradient scaler tells it."""
        self._optimizer.grad_scale = divisor  # type: ignore[attr-defined]

    def meet(self, step: int, *, wanted: bool) -> bool:
        """Always."""
        return True

    def end(self) -> str:
        """Nothing to tell."""
        return ""


class Server(EveryStep):
    """Process 0 holds the optimizer; the others send it gradients and take weights from it."""

    def join(self, loss: Tensor, flags: Sequence[float], step: int) -> tuple[float, float]:
        """Sum the gradients on process 0."""
        sharded = self._sharded
        leads = sharded.mesh.dp_index == 0
        reduce_gradients(sharded.parameters)
        square = norm_of(gradients_of(sharded.parameters)) ** 2 if leads else 0.0
        values = torch.tensor([float(loss), square, *flags], dtype=torch.float64)
        total, square, *self.asked = all_reduce(values, name=AGREEMENT).tolist()
        return total, square**0.5

    def update(self, rate: float, step: int) -> None:
        """Process 0 steps, and everybody takes its weights."""
        if self._sharded.mesh.dp_index == 0:
            self._optimizer.step()
        self._divisor(None)
        self._optimizer.zero_grad(set_to_none=True)
        broadcast_together(self._sharded.parameters)


class LocalSteps(EveryStep):
    """Replicas step alone; every few steps the mean of what they moved is one outer step from where they last met.

    With rate 1 and no momentum the outer step ends at the mean of the weights. Between meetings a replica knows its
    own loss and norm only, and whether to stop is agreed on when they meet.
    """

    def __init__(self, sharded: Sharded, optimizer: Optimizer, settings: SyncSettings, n_steps: int | None) -> None:
        super().__init__(sharded, optimizer)
        self.scale = float(sharded.mesh.dp)
        self.own_states = sharded.mesh.dp > 1
        self._settings = settings
        self._n_steps = n_steps
        self._anchors: list[Tensor] = []
        if settings.mode == "diloco":
            self.outer = {name: torch.zeros_like(p, requires_grad=False) for name, p in sharded.local.items()}

    def begin(self) -> None:
        """Where everybody stands now is where they last met."""
        self._anchors = [p.detach().clone() for p in self._sharded.parameters]

    def join(self, loss: Tensor, flags: Sequence[float], step: int) -> tuple[float, float]:
        """Nothing is joined; when they meet after this step, loss, norm and flags are those of all."""
        n = self._sharded.mesh.dp
        values = torch.tensor(
            [float(loss) / n, norm_of(gradients_of(self._sharded.parameters)) / n, *flags], dtype=torch.float64
        )
        if self._is_round_over(step) and n > 1:
            all_reduce(values, name=AGREEMENT)
        elif n > 1:
            values = torch.tensor([*(values[:2] * n).tolist(), *(0.0 for _ in flags)], dtype=torch.float64)
        total, norm, *self.asked = values.tolist()
        return total, norm

    def update(self, rate: float, step: int) -> None:
        """The replica's own step, and the outer one when the round is over."""
        super().update(rate, step)
        if self._is_round_over(step):
            self._outer_step()

    def meet(self, step: int, *, wanted: bool) -> bool:
        """When a round is over."""
        return self._is_round_over(step)

    def _is_round_over(self, step: int) -> bool:
        return step % self._settings.every == 0 or step == self._n_steps

    @torch.no_grad()
    def _outer_step(self) -> None:
        parameters, n = self._sharded.parameters, self._sharded.mesh.dp
        for parameter, anchor in zip(parameters, self._anchors, strict=True):
            parameter.grad = (anchor - parameter) / n
        if n > 1:
            sum_gradients(parameters, None)
        for name, parameter, anchor in zip(self._sharded.local, parameters, self._anchors, strict=True):
            assert parameter.grad is not None
            anchor -= self._outer_move(name, parameter.grad)
            parameter.copy_(anchor)
            parameter.grad = None

    def _outer_move(self, name: str, moved: Tensor) -> Tensor:
        """Nesterov's step along what the replicas moved in the mean."""
        if name not in self.outer:
            return moved
        settings = self._settings
        momentum = self.outer[name].mul_(settings.outer_momentum).add_(moved)
        return settings.outer_rate * (moved + settings.outer_momentum * momentum)


def gradients_of(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradients that are there."""
    return [p.grad for p in parameters if p.grad is not None]


@torch.no_grad()
def scale_all(tensors: Sequence[Tensor], share: float) -> None:
    """Multiply all by ``share``, in place."""
    torch._foreach_mul_(list(tensors), share)


def refuse_divided(settings: SyncSettings, sharded: Sharded) -> None:
    """Replicas that do not step together each need the whole model: InvalidInputError for anything but plain dp."""
    axes = {"tp": "tp", "cp": "cp", "pp": "pp", "ep": "ep", "shard": "zero_stage"}
    divided = [name for axis, name in axes.items() if axis in sharded.mesh.sizes]
    if settings.mode != "all_reduce" and divided:
        raise InvalidInputError(
            f"sync.mode {settings.mode} keeps whole replicas, and the plan divides the model by {', '.join(divided)}",
            hint='plan with data parallel only, or use sync.mode = "all_reduce"',
        )
