"""A strategy put onto a model: which part of each parameter this process holds, and how gradients are joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Strategy
from trainwright.runtime.collective import all_reduce, sum_gradients
from trainwright.runtime.loss import divided_loss_sum, loss_sum
from trainwright.runtime.mesh import Mesh
from trainwright.runtime.model import logits_of
from trainwright.runtime.recompute import recompute_blocks
from trainwright.runtime.share import Share
from trainwright.runtime.tensor import Division, divide

Precision = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharded:
    """A model on its mesh: ``division`` is what tensor parallelism made of it."""

    model: nn.Module
    mesh: Mesh
    strategy: Strategy
    division: Division

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trainable parameters of this process."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def local_parameters(self) -> dict[str, Tensor]:
        """What this process holds of each parameter, as a plain tensor."""
        return dict(self.model.named_parameters())

    def local_gradients(self) -> dict[str, Tensor]:
        """What this process holds of each gradient, as a plain tensor."""
        return {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}

    @property
    def shares(self) -> dict[str, Share]:
        """Which part of the whole each divided parameter is."""
        return self.division.shares

    def owns(self, name: str) -> bool:
        """Whether this process is the one that writes the parameter to a checkpoint."""
        return self.mesh.index("dp") == 0 and (name in self.shares or self.mesh.index("tp") == 0)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy summed over tokens, the same on every tensor-parallel process."""
        begin = self.division.vocabulary_begin
        if begin is None:
            return loss_sum(logits, targets)
        return divided_loss_sum(logits, targets, begin, self.mesh.group("tp"))

    def gradients(
        self, micros: Sequence[tuple[Tensor, Tensor]], scale: float, run: Precision, mark: Callable[[str], None]
    ) -> Tensor:
        """Forward and backward of each micro-batch (inputs, targets); returns ``scale`` times the sum of their losses.

        Gradients of that are added up in the parameters; ``mark`` is told what was done when it is done.
        """
        total = torch.zeros(())
        for inputs, targets in micros:
            with run():
                loss = scale * self.loss(logits_of(self.model, inputs), targets)
            mark("forward")
            loss.backward()
            mark("backward")
            total += loss.detach()
        return total

    def join_gradients(self) -> None:
        """Sum gradients over the data-parallel replicas, and over tp those that are partial there; once a step."""
        named = dict(self.model.named_parameters())
        if partial := [named[name] for name in self.division.partial if named[name].requires_grad]:
            sum_gradients(partial, self.mesh.group("tp"))
        if self.mesh.size("dp") > 1:
            sum_gradients(self.parameters, self.mesh.group("dp"))

    def gradient_norm(self) -> Tensor:
        """The Euclidean norm of the whole model's gradient, the same on every process."""
        named = [(name, p.grad) for name, p in self.model.named_parameters() if p.grad is not None]
        if self.mesh.size("tp") == 1:
            return torch.nn.utils.get_total_norm([grad for _, grad in named])
        here = [grad for name, grad in named if name in self.shares]
        alike = [grad for name, grad in named if name not in self.shares]
        squares = all_reduce(torch.nn.utils.get_total_norm(here).square(), self.mesh.group("tp"))
        return (squares + torch.nn.utils.get_total_norm(alike).square()).sqrt()

    def total(self, value: Tensor) -> Tensor:
        """A sum over the parts of the global batch that the replicas saw, in place."""
        return all_reduce(value, self.mesh.group("dp")) if self.mesh.size("dp") > 1 else value


def shard_model(model: nn.Module, strategy: Strategy, mesh: Mesh) -> Sharded:
    """Divide the model in place as the strategy says."""
    refuse_unbuilt(strategy)
    division = Division()
    if (size := mesh.size("tp")) > 1:
        division = divide(model, mesh.group("tp"), mesh.index("tp"), size, sequence=strategy.sequence_parallel)
    recompute_blocks(model, strategy.recompute, int(strategy.recompute_every))
    return Sharded(model=model, mesh=mesh, strategy=strategy, division=division)


def refuse_unbuilt(strategy: Strategy) -> None:
    """Raise InvalidInputError for a strategy that the runtime cannot carry out."""
    wrong = {
        "cp": strategy.cp > 1, "pp": strategy.pp > 1, "ep": strategy.ep > 1,
        "zero_stage": strategy.zero_stage > 0, "offload": strategy.offload != "none",
    }  # fmt: skip
    if unbuilt := [name for name, is_wrong in wrong.items() if is_wrong]:
        raise InvalidInputError(
            f"the runtime cannot carry out {', '.join(unbuilt)} of this strategy",
            hint="plan with data and tensor parallel only",
        )


def precision(name: str, device_type: str = "cpu") -> Precision:
    """The context in which forward runs.

    bf16: parameters, gradients and optimizer states stay fp32; matmuls and attention run in bf16 (torch.autocast).
    """
    if name == "bf16":
        return lambda: torch.autocast(device_type, dtype=torch.bfloat16)
    if name in ("fp32", "tf32"):
        return nullcontext
    raise InvalidInputError(f"precision {name} does not run on {device_type}", hint="use fp32 or bf16")
