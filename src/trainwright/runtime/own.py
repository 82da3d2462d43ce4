"""Modules that compute their own loss, from inputs of any shape; in parts, each with its own update, where they say so.

What such a module takes and gives is told in capture/step.py: the same code is captured and run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from trainwright.capture.step import Example, call, loss_of, losses
from trainwright.runtime.precision import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Inputs of ``n_rows`` samples, by the names or positions that the module takes.

    ``rows_at``: in which dimension each input holds its rows; one that is not there is the same for all of them.
    """

    values: Example
    n_rows: int
    rows_at: Mapping[str | int, int] = field(default_factory=dict)

    def split(self, size: int) -> tuple[Sample, ...]:
        """Parts of so many rows."""
        n = self.n_rows // size
        cut = {key: value.split(size, self.rows_at[key]) for key, value in self.values.items() if key in self.rows_at}
        return tuple(
            replace(self, values={**self.values, **{key: parts[i] for key, parts in cut.items()}}, n_rows=size)
            for i in range(n)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Rows that are made when they are cut into micro-batches: ``make(index, n_rows)``."""

    n_rows: int
    make: Callable[[int, int], Sample]

    def split(self, size: int) -> tuple[Sample, ...]:
        """Micro-batches of so many rows."""
        return tuple(self.make(index, size) for index in range(self.n_rows // size))


def own_loss(model: nn.Module, sample: Sample) -> Tensor:
    """The module's loss, summed over the rows whose mean it is."""
    return sample.n_rows * loss_of(call(model, _beside(model, sample)))


def _beside(model: nn.Module, sample: Sample) -> Example:
    """The inputs on the device of the model."""
    device = next(model.parameters()).device
    return {key: value.to(device) for key, value in sample.values.items()}


def trains_in_parts(model: nn.Module) -> bool:
    """Whether the module yields several losses a step, each for a part of it."""
    return hasattr(model, "training_step")


def part_losses(
    model: nn.Module, sample: Sample, scale: float, run: Precision, mark: Callable[[str], None]
) -> Iterator[Tensor]:
    """``scale`` times each loss of one step, the gradients of its part and of nothing else in place.

    The part is to be updated before the next one is asked for.
    """
    steps = losses(model, _beside(model, sample))
    while True:
        with run():
            found = next(steps, None)
            if found is None:
                return
            loss, part = found
            loss = scale * sample.n_rows * loss
        mark("forward")
        if loss.requires_grad:
            loss.backward()
        own = {id(parameter) for parameter in part.parameters()}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
        for parameter in others:
            parameter.grad = None
            parameter.requires_grad_(False)  # so that replicas join the gradients of this part alone
        mark("backward")
        yield loss.detach()
        for parameter in others:
            parameter.requires_grad_(True)
