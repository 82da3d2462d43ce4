"""An asynchronous parameter server: every replica sends its gradient when it has one and takes the weights of then.

Process 0 holds the weights that count and their optimizer beside its own replica; one thread serves each other process.
A replica may be ``staleness`` steps ahead of the slowest and then waits for it (stale synchronous parallel: Ho et al.,
NeurIPS 2013). The rate of an update is the job's over the number of replicas, so that an epoch moves as far as one of
all_reduce. What arrives first is applied first: such a run does not give the same bits twice.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from trainwright.errors import TrainwrightError
from trainwright.runtime.collective import WIRE, broadcast_together, norm_of
from trainwright.runtime.shard import Sharded
from trainwright.runtime.sync import EveryStep, gradients_of, scale_all

BYE = -1.0
"""Instead of a step: no more gradients come."""


def served(sharded: Sharded) -> Sharded:
    """The same model with copies of its weights for the optimizer: on process 0 they are the ones that count."""
    copies = {name: nn.Parameter(p.detach().clone(), p.requires_grad) for name, p in sharded.local.items()}
    return replace(sharded, local=copies, divided=copies)


class AsyncServer(EveryStep):
    """One replica's side; on process 0 the server's too. ``sharded`` comes from ``served``."""

    def __init__(self, sharded: Sharded, optimizer: Optimizer, staleness: int, n_flags: int) -> None:
        super().__init__(sharded, optimizer)
        self.scale = float(sharded.mesh.dp)
        self.moving = [p for name, p in sharded.model.named_parameters() if name in sharded.local]
        self._flags: Sequence[float] = [0.0] * n_flags
        self._seen = 0
        self._wire: Any = dist.new_group(backend="gloo") if sharded.mesh.dp > 1 else None
        self._desk = Desk(sharded, optimizer, staleness, n_flags) if sharded.mesh.dp_index == 0 else None
        self._clerks: list[threading.Thread] = []

    def begin(self) -> None:
        """Replicas take the server's weights; the server opens."""
        self._take_all()
        if self._desk is not None:
            ranks = range(1, self._desk.n_replicas)
            self._clerks = [threading.Thread(target=self._serve, args=(rank,), daemon=True) for rank in ranks]
            for clerk in self._clerks:
                clerk.start()

    def join(self, loss: Tensor, flags: Sequence[float], step: int) -> tuple[float, float]:
        """This replica's own."""
        self._flags = flags
        return float(loss), norm_of(gradients_of(self.moving))

    def shorten(self, share: float) -> None:
        """Here: the optimizer is the server's."""
        scale_all(gradients_of(self.moving), share)

    def update(self, rate: float, step: int) -> None:
        """Send the gradient, take the weights."""
        gradient = torch.cat(
            [(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in self.moving]
        ).cpu()
        with WIRE.running("dp send_recv"):
            reply, weights = self._exchange(_header(step, self._seen, rate, *self._flags), gradient)
        self._seen, stop_at = int(reply[0]), reply[1]
        self.asked = reply[2:].tolist() if step >= stop_at else [0.0 for _ in self._flags]
        _spread(weights, self.moving)
        for parameter in self.moving:
            parameter.grad = None

    def meet(self, step: int, *, wanted: bool) -> bool:
        """Where wanted: all wait for all, and take the weights with everybody's gradients in them."""
        if wanted:
            self._take_all()
        return wanted

    def end(self) -> str:
        """Close the server; how late gradients came."""
        if self._desk is None:
            dist.send(_header(BYE, 0, 0.0, *self._flags), 0, group=self._wire)
            return ""
        for clerk in self._clerks:
            clerk.join()
        return self._desk.told()

    @torch.no_grad()
    def _take_all(self) -> None:
        if self._sharded.mesh.dp > 1:
            dist.barrier()
            broadcast_together(self._sharded.parameters)
            version = torch.tensor(self._desk.version if self._desk is not None else 0)
            dist.broadcast(version, 0)
            self._seen = int(version)
        for mine, counts in zip(self.moving, self._sharded.parameters, strict=True):
            mine.copy_(counts)

    def _exchange(self, header: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        if self._desk is not None:
            return self._desk.exchange(0, header, gradient)
        dist.send(header, 0, group=self._wire)
        dist.send(gradient, 0, group=self._wire)
        reply = torch.empty(2 + len(self._flags), dtype=torch.float64)
        dist.recv(reply, 0, group=self._wire)
        dist.recv(gradient, 0, group=self._wire)
        return reply, gradient

    def _serve(self, rank: int) -> None:
        """A thread of process 0: answer one replica until it says good-bye or its process is gone."""
        assert self._desk is not None
        gradient = torch.empty(sum(p.numel() for p in self.moving))
        header = _header(0, 0, 0.0, *self._flags)
        try:
            while True:
                dist.recv(header, rank, group=self._wire)
                if header[0] == BYE:
                    return
                dist.recv(gradient, rank, group=self._wire)
                reply, weights = self._desk.exchange(rank, header, gradient)
                dist.send(reply, rank, group=self._wire)
                dist.send(weights, rank, group=self._wire)
        except (RuntimeError, TrainwrightError) as error:
            self._desk.give_up(f"process {rank} is gone: {error}")


class Desk:
    """The weights that count, their optimizer, and who is how far; one exchange at a time."""

    def __init__(self, sharded: Sharded, optimizer: Optimizer, bound: int, n_flags: int) -> None:
        self.n_replicas = sharded.mesh.dp
        self.version = 0
        self._parameters = sharded.parameters
        self._optimizer = optimizer
        self._bound = bound
        self._turn = threading.Condition()
        self._clocks = [0.0] * self.n_replicas
        self._late: Counter[int] = Counter()
        self._furthest_apart = 0.0
        self._stop_at = float("inf")
        self._asked = [0.0] * n_flags
        self._broken = ""

    def exchange(self, rank: int, header: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Apply a replica's gradient; once it is not too far ahead, ([version, step to stop at, flags], weights)."""
        step, seen, rate, *flags = header.tolist()
        with self._turn:
            if self._clocks == [0.0] * self.n_replicas:
                self._clocks = [step - 1.0] * self.n_replicas
            self._apply(gradient, rate, int(seen))
            self._clocks[rank] = step
            self._furthest_apart = max(self._furthest_apart, max(self._clocks) - min(self._clocks))
            if any(flags) and self._stop_at == float("inf"):
                self._stop_at, self._asked = max(self._clocks) + 1.0, flags
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._broken or step <= min(self._clocks) + self._bound)
            if self._broken:
                raise TrainwrightError(self._broken, hint="run the same command again: it goes on from the checkpoint")
            reply = torch.tensor([float(self.version), self._stop_at, *self._asked], dtype=torch.float64)
            return reply, torch.cat([p.detach().reshape(-1) for p in self._parameters]).cpu()

    def give_up(self, why: str) -> None:
        """A replica is gone: nobody shall wait for it."""
        with self._turn:
            self._broken = why
            self._turn.notify_all()

    def told(self) -> str:
        """How late gradients came, in updates made since their weights were taken."""
        n = self._late.total()
        mean = sum(late * count for late, count in self._late.items()) / max(n, 1)
        most = max(self._late, default=0)
        return (
            f"async_server: {n} updates, gradients {mean:.2f} updates late in the mean and {most} at most; "
            f"replicas at most {self._furthest_apart:.0f} steps apart"
        )

    def _apply(self, gradient: Tensor, rate: float, seen: int) -> None:
        _spread(gradient, self._parameters, into_gradients=True)
        for group in self._optimizer.param_groups:
            group["lr"] = rate / self.n_replicas * group.get("rate_share", 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._late[self.version - seen] += 1
        self.version += 1


def _header(step: float, seen: int, rate: float, *flags: float) -> Tensor:
    return torch.tensor([step, seen, rate, *flags], dtype=torch.float64)


@torch.no_grad()
def _spread(flat: Tensor, parameters: Sequence[nn.Parameter], *, into_gradients: bool = False) -> None:
    """The pieces of one long tensor, as the parameters' values or (copied) gradients."""
    for parameter, piece in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        if into_gradients:
            parameter.grad = piece.view_as(parameter).to(parameter.device, copy=True)
        else:
            parameter.copy_(piece.view_as(parameter))
