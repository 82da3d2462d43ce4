"""A strategy put onto a model: which part of each parameter this process holds, and how gradients are joined."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Strategy
from trainwright.runtime.collective import all_reduce, sum_gradients
from trainwright.runtime.mesh import Mesh
from trainwright.runtime.recompute import recompute_blocks
from trainwright.runtime.state import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharded:
    """A model on its mesh.

    ``parameters`` are this process's local parameters; ``shares`` names the divided ones.
    """

    model: nn.Module
    mesh: Mesh
    strategy: Strategy
    shares: dict[str, Share] = field(default_factory=dict)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trainable parameters of this process."""
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def owner(self) -> bool:
        """Whether this process writes what all hold alike."""
        return all(index == 0 for index in self.mesh.indexes.values())

    def join_gradients(self) -> None:
        """Sum gradients over the data-parallel replicas, once a step."""
        if self.mesh.size("dp") > 1:
            sum_gradients(self.parameters, self.mesh.group("dp"))

    def gradient_norm(self) -> Tensor:
        """The Euclidean norm of the whole model's gradient, the same on every process."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        return torch.nn.utils.get_total_norm(grads)

    def total(self, value: Tensor) -> Tensor:
        """A sum over the parts of the global batch that the replicas saw, in place."""
        return all_reduce(value, self.mesh.group("dp")) if self.mesh.size("dp") > 1 else value


def shard_model(model: nn.Module, strategy: Strategy, mesh: Mesh) -> Sharded:
    """Divide the model in place as the strategy says."""
    refuse_unbuilt(strategy)
    recompute_blocks(model, strategy.recompute, int(strategy.recompute_every))
    return Sharded(model=model, mesh=mesh, strategy=strategy)


def refuse_unbuilt(strategy: Strategy) -> None:
    """Raise InvalidInputError for a strategy that the runtime cannot carry out."""
    wrong = {
        "tp": strategy.tp > 1, "cp": strategy.cp > 1, "pp": strategy.pp > 1, "ep": strategy.ep > 1,
        "zero_stage": strategy.zero_stage > 0, "offload": strategy.offload != "none",
    }  # fmt: skip
    if unbuilt := [name for name, is_wrong in wrong.items() if is_wrong]:
        raise InvalidInputError(
            f"the runtime cannot carry out {', '.join(unbuilt)} of this strategy", hint="plan with data parallel only"
        )


Precision = Callable[[], AbstractContextManager[object]]


def precision(name: str, device_type: str = "cpu") -> Precision:
    """The context in which forward runs.

    bf16: parameters, gradients and optimizer states stay fp32; matmuls and attention run in bf16 (torch.autocast).
    """
    if name == "bf16":
        return lambda: torch.autocast(device_type, dtype=torch.bfloat16)
    if name in ("fp32", "tf32"):
        return nullcontext
    raise InvalidInputError(f"precision {name} does not run on {device_type}", hint="use fp32 or bf16")
