"""Pipeline parallel on torch.distributed.pipelining: its schedules, our stages.

GPipe (Huang et al., arXiv:1811.06965), 1F1B (Narayanan et al., arXiv:1806.03377), interleaved 1F1B (Narayanan et al.,
arXiv:2104.04473), zero bubble (Qi et al., arXiv:2401.10241).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
)

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Strategy
from trainwright.runtime.instant import instant, seconds_between, settle
from trainwright.runtime.mesh import Mesh
from trainwright.runtime.precision import Precision
from trainwright.runtime.recompute import blocks_of
from trainwright.runtime.stage import Cut, Stage, cut_model, stage_ranges

Loss = Callable[[Tensor, Tensor], Tensor]

N_TRANSFERS = 5
"""How often a hand-over is tried to know how long it takes; the shortest counts."""

_TAG = 4711


class Pipeline:
    """This process's stages, and how a step goes through all of them."""

    def __init__(self, model: nn.Module, cut: Cut, strategy: Strategy, mesh: Mesh) -> None:
        self.cut = cut
        self._strategy = strategy
        self._group: Any = mesh.group("pp")
        self._size = mesh.size("pp")
        self._device = mesh.device
        cut.running.stretch = mesh.index("cp"), mesh.size("cp")
        self._modules = {number: Stage(model, cut, number) for number in cut.stages}
        self.tied_name, self.tied_group = tied_over(model, cut, mesh)
        self._schedules: dict[int, Any] = {}
        self._mark: Callable[[str], None] = lambda _part: None
        self._n_received = 0
        self._transfer_s: float | None = None

    @property
    def is_last(self) -> bool:
        """Whether the loss is computed here."""
        return self.cut.n_stages - 1 in self.cut.stages

    @property
    def is_first(self) -> bool:
        """Whether the embedding lies here."""
        return 0 in self.cut.stages

    def gradients(
        self, micros: Sequence[tuple[Tensor, Tensor]], loss: Loss, run: Precision, mark: Callable[[str], None]
    ) -> Tensor:
        """Forward and backward of all micro-batches in the schedule's order; the summed loss, 0 but on the last.

        ``run`` is entered for each forward alone: what stages exchange and backward are outside of it.
        """
        self._mark, self.cut.running.precision = mark, run
        schedule = self._schedules.get(len(micros))
        if schedule is None:
            schedule = self._schedules[len(micros)] = self._make_schedule(len(micros))
        schedule._loss_fn = partial(_in_precision, loss, run)
        losses: list[Tensor] = []
        ids = torch.cat([inputs for inputs, _ in micros])
        targets = torch.cat([wanted for _, wanted in micros])
        arguments = (ids,) if self.is_first else ()
        if self.is_last:
            schedule.step(*arguments, target=targets, losses=losses, return_outputs=False)
        else:
            schedule.step(*arguments, return_outputs=False)
        mark("waiting")
        self._n_received = len(micros) * sum((n > 0) + (n < self.cut.n_stages - 1) for n in self.cut.stages)
        if self._transfer_s is None:
            self._transfer_s = self._measured_transfer()
        return torch.stack([each.detach() for each in losses]).sum() if losses else torch.zeros((), device=self._device)

    def told(self, parts: dict[str, float]) -> dict[str, float]:
        """Of the time between a stage's own work: what its transfers take when nobody is late, and the bubble."""
        waited = parts.pop("waiting", 0.0)
        moved = min(waited, self._n_received * (self._transfer_s or 0.0))
        return {**parts, "pp send_recv": moved, "bubble": waited - moved}

    def _measured_transfer(self) -> float:
        """Seconds of one hand-over between neighbours that both are ready for; all processes of the group measure."""
        given = self.cut.running.handed_over
        if given is None:
            return 0.0
        there = dist.get_rank(self._group)
        ours, theirs = (torch.zeros_like(given, device=self._device) for _ in range(2))
        best = math.inf
        for _ in range(N_TRANSFERS):
            dist.barrier(group=self._group)
            begin = instant()
            works = [
                dist.isend(ours, group=self._group, group_dst=(there + 1) % self._size, tag=_TAG),
                dist.irecv(theirs, group=self._group, group_src=(there - 1) % self._size, tag=_TAG),
            ]
            for work in works:
                assert work is not None
                work.wait()
            end = instant()
            settle()
            best = min(best, seconds_between(begin, end))
        return best

    def logits(self, inputs: Tensor, width: int) -> Tensor | None:
        """Forward only, one micro-batch, stage after stage; logits on the last, None elsewhere."""
        hidden: Tensor | None = None
        for number in range(self.cut.n_stages):
            here = number in self.cut.stages
            before, after = (number - 1) % self._size, (number + 1) % self._size
            if not here:
                continue
            if number and before != dist.get_rank(self._group):
                hidden = torch.empty(*inputs.shape[:2], width, device=self._device)
                dist.recv(hidden, group=self._group, group_src=before)
            out: Tensor = self._modules[number](inputs if number == 0 else hidden)
            hidden = out
            if number < self.cut.n_stages - 1 and after != dist.get_rank(self._group):
                dist.send(out.float().contiguous(), group=self._group, group_dst=after)
        return hidden if self.is_last else None

    def _make_schedule(self, n_micros: int) -> Any:
        strategy = self._strategy
        stages = [
            self._timed(PipelineStage(module, number, self.cut.n_stages, self._device, group=self._group))
            for number, module in self._modules.items()
        ]
        settings: dict[str, Any] = {"n_microbatches": n_micros, "loss_fn": _no_loss, "scale_grads": False}
        if strategy.schedule == "zero_bubble":
            return ScheduleInterleavedZeroBubble(stages, **settings)
        if strategy.schedule == "interleaved" or len(stages) > 1:
            return ScheduleInterleaved1F1B(stages, **settings)
        kind = ScheduleGPipe if strategy.schedule == "gpipe" else Schedule1F1B
        return kind(stages[0], **settings)

    def _timed(self, stage: Any) -> Any:
        """Time between a stage's own work is waiting: for neighbours, or in the bubble."""
        for name, part in (
            ("forward_one_chunk", "forward"),
            ("backward_one_chunk", "backward"),
            ("backward_weight_one_chunk", "backward"),
        ):
            setattr(stage, name, self._between(getattr(stage, name), part))
        return stage

    def _between(self, work: Callable[..., Any], part: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._mark("waiting")
            out = work(*args, **kwargs)
            self._mark(part)
            return out

        return timed


def make_pipeline(model: nn.Module, strategy: Strategy, mesh: Mesh) -> Pipeline:
    """Cut the model in place and keep this process's stages: number r, r + pp, r + 2 pp ..."""
    size, index = mesh.size("pp"), mesh.index("pp")
    virtual = int(strategy.virtual_stages)
    n_blocks = len(blocks_of(model))
    if size * virtual > n_blocks:
        raise InvalidInputError(
            f"{size * virtual} pipeline stages are more than the model's {n_blocks} blocks",
            hint=f"make pp x virtual_stages at most {n_blocks}",
        )
    ranges = stage_ranges(n_blocks, size * virtual, strategy.stages)
    cut = cut_model(model, [index + size * v for v in range(virtual)], ranges)
    return Pipeline(model, cut, strategy, mesh)


def tied_over(model: nn.Module, cut: Cut, mesh: Mesh) -> tuple[str | None, Any]:
    """(name, group) of the weight that the first and last stages share; (None, None) on the others or without one."""
    config: Any = getattr(model, "config", None)
    if not getattr(config, "tie_word_embeddings", False):
        return None, None
    column = mesh.ranks[("pp",)]
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, column)
    group = None
    for ranks in dict.fromkeys(everyone):
        ends = dist.new_group([ranks[0], ranks[-1]])
        group = ends if ranks == column else group
    box = [cut.tied[1] if cut.tied else None]
    dist.broadcast_object_list(box, src=column[-1], group=mesh.group("pp"))
    inside = mesh.index("pp") in (0, mesh.size("pp") - 1) and box[0] is not None
    return (box[0], group) if inside else (None, None)


def _in_precision(loss: Loss, run: Precision, logits: Tensor, targets: Tensor) -> Tensor:
    with run():
        return loss(logits, targets)


def _no_loss(_logits: Tensor, _targets: Tensor) -> Tensor:
    raise AssertionError("the loss is given with each step")
