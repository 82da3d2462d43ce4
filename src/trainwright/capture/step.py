"""One training step of any module: forward, backward, optimizer. The same code is traced and, in benchmarks, run.

A module that returns its loss (a scalar, or an output with ``.loss``) needs nothing more. A module that trains in
several parts (a GAN, stacked RBMs) has ``training_step(*inputs)``, a generator of ``(loss, part)``: each loss goes
backward, and the optimizer of that part takes its step, before the generator goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.capture.explain import explained
from trainwright.capture.standin import Kernels
from trainwright.capture.trace import Phase, Recorder, Trace, recording
from trainwright.errors import InvalidInputError

OptimizerMaker = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Example = Mapping[str | int, Any]
"""Inputs by argument name, or by position."""


def trace_step(
    module: nn.Module,
    example: Example,
    *,
    optimizer: OptimizerMaker | None = None,
    kernels: Kernels = "gpu",
    accumulates: bool = False,
    most_ops: int = sys.maxsize,
) -> Trace:
    """One step on meta, exactly as it would run. With an optimizer, its states exist already, as from the second step.

    ``example`` holds meta tensors; ``kernels`` says whose fused kernels to expect (see capture/standin.py).
    ``accumulates``: gradients of earlier micro-batches are there, and this one's are added to them. TooManyOpsError
    where the step has more than ``most_ops``.
    """
    module.train()
    optimizers = Optimizers(optimizer)
    if optimizer is not None:
        with recording(module, kernels) as recorder, explained(module):
            recorder.most_ops = most_ops
            run_step(module, example, optimizers)
    for parameter in module.parameters():
        if accumulates and parameter.requires_grad:
            parameter.grad = torch.empty_like(parameter)
    with recording(module, kernels) as recorder:
        recorder.most_ops = most_ops
        for tensor in (t for t in example.values() if isinstance(t, Tensor)):
            recorder.know(tensor, "input")
        for state in optimizers.states():
            recorder.know(state, "input")
        recorder.trace.state_bytes = recorder.trace.peak_bytes = recorder.live
        with explained(module, recorder):
            run_step(module, example, optimizers, recorder)
    return recorder.trace


def trace_inference(module: nn.Module, example: Example, *, kernels: Kernels = "gpu") -> Trace:
    """One forward without gradients."""
    module.eval()
    with recording(module, kernels) as recorder:
        for tensor in (t for t in example.values() if isinstance(t, Tensor)):
            recorder.know(tensor, "input")
        recorder.trace.state_bytes = recorder.trace.peak_bytes = recorder.live
        with torch.no_grad(), explained(module, recorder):
            call(module, example)
    return recorder.trace


class Optimizers:
    """One optimizer for each part of the module that trains by itself; made when first needed."""

    def __init__(self, maker: OptimizerMaker | None) -> None:
        self.maker = maker
        self._made: dict[int, torch.optim.Optimizer] = {}

    def step(self, part: nn.Module) -> None:
        """Update one part."""
        if self.maker is None:
            return
        if id(part) not in self._made:
            self._made[id(part)] = self.maker([p for p in part.parameters() if p.requires_grad])
        self._made[id(part)].step()

    def states(self) -> Iterator[Tensor]:
        """Every tensor the optimizers keep between steps."""
        for made in self._made.values():
            for state in made.state.values():
                yield from (value for value in state.values() if isinstance(value, Tensor))


def run_step(module: nn.Module, example: Example, optimizers: Optimizers, recorder: Recorder | None = None) -> None:
    """Forward, backward, update, gradients dropped; for each part in turn."""
    steps = losses(module, example)
    while True:
        _enter(recorder, "forward")
        found = next(steps, None)
        if found is None:
            break
        loss, part = found
        _enter(recorder, "backward")
        if loss.requires_grad:
            loss.backward()
        del loss, found
        _enter(recorder, "optimizer")
        optimizers.step(part)
        part.zero_grad(set_to_none=True)
    module.zero_grad(set_to_none=True)


def _enter(recorder: Recorder | None, phase: Phase) -> None:
    if recorder is not None:
        recorder.phase = phase


def losses(module: nn.Module, example: Example) -> Iterator[tuple[Tensor, nn.Module]]:
    """Every loss of one step with the part it trains."""
    if hasattr(module, "training_step"):
        yield from call(module.training_step, example)  # type: ignore[arg-type]
    else:
        yield loss_of(call(module, example)), module


def call(function: Callable[..., Any], example: Example) -> Any:
    """The function on an example whose keys are positions or names."""
    positional = [example[key] for key in sorted(k for k in example if isinstance(k, int))]
    named = {key: value for key, value in example.items() if isinstance(key, str)}
    return function(*positional, **named)


def loss_of(out: Any) -> Tensor:
    """The loss in a module's output: itself, ``.loss``, ``["loss"]``; else the mean of its first float tensor."""
    if isinstance(out, Mapping) and out.get("loss") is not None:
        return out["loss"]  # type: ignore[no-any-return]
    if getattr(out, "loss", None) is not None:
        return out.loss  # type: ignore[no-any-return]
    candidates = out.values() if isinstance(out, Mapping) else out if isinstance(out, tuple | list) else [out]
    for candidate in candidates:
        if isinstance(candidate, Tensor) and candidate.dtype.is_floating_point:
            return candidate if candidate.dim() == 0 else candidate.float().mean()
    raise InvalidInputError(
        f"the module returned {type(out).__name__}, in which there is no tensor to learn from",
        hint="return a tensor, a loss, or an output with .loss; or give the module a training_step(*inputs)",
    )
