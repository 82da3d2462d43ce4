"""A strategy put onto a model: which part of each parameter this process holds, and how gradients are joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Strategy
from trainwright.runtime.collective import all_reduce, sum_gradients
from trainwright.runtime.context import divide_attention, stretch
from trainwright.runtime.expert import divide_experts
from trainwright.runtime.loss import divided_loss_sum, loss_sum
from trainwright.runtime.mesh import Mesh, MeshAxis
from trainwright.runtime.model import logits_of
from trainwright.runtime.pipeline import Pipeline, make_pipeline
from trainwright.runtime.precision import Precision
from trainwright.runtime.recompute import recompute_blocks
from trainwright.runtime.share import Share
from trainwright.runtime.stage import watch_last_blocks
from trainwright.runtime.tensor import Division, divide
from trainwright.runtime.zero import RowOptimizerShards, rows_of, shard_fully

Mark = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharded:
    """A model on its mesh.

    ``local`` are this process's parameters as the optimizer sees them, plain tensors by name; ``shares`` says which
    part of the whole each divided one is, ``over`` which axes divide it. ``division`` is what tensor parallelism made.
    """

    model: nn.Module
    mesh: Mesh
    strategy: Strategy
    division: Division
    local: dict[str, nn.Parameter]
    shares: dict[str, Share]
    over: dict[str, tuple[MeshAxis, ...]] = field(default_factory=dict)
    rows: RowOptimizerShards | None = None
    pipeline: Pipeline | None = None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimizer updates."""
        return list(self.local.values())

    def owns(self, name: str) -> bool:
        """Whether this process is the one that writes its part of the parameter to a checkpoint."""
        if name == self.tied and self.pipeline is not None and not self.pipeline.is_first:
            return False
        dividing = self.over.get(name, ())
        return all(index == 0 for axis, index in self.mesh.indexes.items() if axis not in dividing)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy summed over tokens, the same on every tensor-parallel process."""
        begin = self.division.vocabulary_begin
        if begin is None:
            return loss_sum(logits, targets)
        return divided_loss_sum(logits, targets, begin, self.mesh.group("tp"))

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of a micro-batch, summed over this process's part of it."""
        return self.loss(*self._logits_and_targets(inputs, targets))

    @property
    def tied(self) -> str | None:
        """The weight that this process holds as first or last stage, and the other of them too."""
        return None if self.pipeline is None or self.pipeline.tied_group is None else self.pipeline.tied_name

    def check(self, inputs: Tensor, targets: Tensor, *, hits: bool) -> Tensor:
        """[loss summed, targets, how often the likeliest answer is right] of this process's part; needs no gradient."""
        if self.pipeline is not None:
            config: Any = self.model.config
            found = self.pipeline.logits(inputs, config.hidden_size)
            if found is None:
                return torch.zeros(3, dtype=torch.float64)
            logits, wanted = found, targets
        else:
            logits, wanted = self._logits_and_targets(inputs, targets)
        right = float((logits.argmax(-1) == wanted).sum()) if hits else 0.0
        return torch.tensor([float(self.loss(logits, wanted)), float(wanted.numel()), right], dtype=torch.float64)

    def _logits_and_targets(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        size, index = self.mesh.size("cp"), self.mesh.index("cp")
        if size == 1:
            return logits_of(self.model, inputs), targets
        ids = stretch(inputs, index, size)
        positions = torch.arange(index * ids.shape[1], (index + 1) * ids.shape[1])[None]
        return logits_of(self.model, ids, position_ids=positions), stretch(targets, index, size)

    def gradients(self, micros: Sequence[tuple[Tensor, Tensor]], scale: float, run: Precision, mark: Mark) -> Tensor:
        """Forward and backward of each micro-batch (inputs, targets); returns ``scale`` times the sum of their losses.

        Gradients of that are added up in the parameters; ``mark`` is told what was done when it is done.
        """
        if self.pipeline is not None:
            with run():
                return self.pipeline.gradients(micros, lambda out, wanted: scale * self.loss(out, wanted), mark)
        total = torch.zeros(())
        for inputs, targets in micros:
            with run():
                loss = scale * self.forward(inputs, targets)
            mark("forward")
            loss.backward()
            mark("backward")
            total += loss.detach()
        return total

    def join_gradients(self) -> None:
        """Once a step: leave in ``local`` the gradients of the whole batch."""
        named = self._named()
        if partial := [named[name] for name in self.division.partial if name in named]:
            _sum_local(partial, self.mesh.group("tp"))
        if self.tied is not None and self.pipeline is not None:
            _sum_local([named[self.tied]], self.pipeline.tied_group)
        if self.strategy.zero_stage >= 2:
            for name, parameter in named.items():
                self.local[name].grad = None if parameter.grad is None else _plain(parameter.grad)
                parameter.grad = None
            return
        if self.rows is not None:
            if self.mesh.size("cp", "rep") > 1:
                sum_gradients(list(named.values()), self.mesh.group("cp", "rep"))
            self.rows.take_gradients()
            return
        experts = [p for name, p in named.items() if "shard" in self.over.get(name, ())]
        if experts and self.mesh.size("cp", "rep") > 1:
            sum_gradients(experts, self.mesh.group("cp", "rep"))
        if self.mesh.size("cp", "shard", "rep") > 1:
            others = [p for name, p in named.items() if "shard" not in self.over.get(name, ())]
            sum_gradients(others, self.mesh.group("cp", "shard", "rep"))

    def after_update(self) -> None:
        """Once a step, after the optimizer: where rows were updated apart, everybody gets them."""
        if self.rows is not None:
            self.rows.give_parameters()

    def agree(self, loss: Tensor, flags: Sequence[float] = ()) -> tuple[float, float, list[float]]:
        """(loss, gradient norm, sums of flags) over all processes, in one small collective.

        Each process adds its part divided by how many processes hold the same.
        """
        mesh = self.mesh
        n = mesh.size(*mesh.sizes)
        square = sum(
            float(torch.linalg.vector_norm(p.grad)) ** 2
            * mesh.size(*self.over.get(name, ()))
            / n
            / (1 + (name == self.tied))
            for name, p in self.local.items()
            if p.grad is not None
        )
        values = torch.tensor([float(loss) / mesh.size("tp"), square, *flags], dtype=torch.float64)
        if n > 1:
            all_reduce(values)
        total, square, *summed = values.tolist()
        return total, square**0.5, summed

    def total(self, value: Tensor) -> Tensor:
        """A sum over the parts of the global batch that the processes saw, in place."""
        if not self.mesh.sizes:
            return value
        return all_reduce(value.div_(self.mesh.size("tp")))

    def _named(self) -> dict[str, nn.Parameter]:
        """The model's own trainable parameters here, by their names in the whole model."""
        return _canonical(self.model, self.pipeline)


def shard_model(model: nn.Module, strategy: Strategy, mesh: Mesh) -> Sharded:
    """Divide the model in place as the strategy says: stages, then columns and rows, sequences, experts, states."""
    refuse_unbuilt(strategy)
    pipeline = make_pipeline(model, strategy, mesh) if mesh.size("pp") > 1 else None
    division = _divide_layers(model, strategy, mesh, pipeline)
    over: dict[str, tuple[MeshAxis, ...]] = dict.fromkeys(division.shares, ("tp",) if mesh.size("tp") > 1 else ())
    if (size := mesh.size("cp")) > 1:
        divide_attention(model, mesh.group("cp"), mesh.index("cp"), size, strategy.cp_kind)
    if strategy.ep > 1:
        for name in divide_experts(model, division.shares, mesh.group("shard"), mesh.index("shard"), int(strategy.ep)):
            over[name] = (*over.get(name, ()), "shard")
    recompute_blocks(model, strategy.recompute, int(strategy.recompute_every))
    local, shares, rows = _divide_states(model, division, strategy, mesh, pipeline)
    if pipeline is not None:
        watch_last_blocks(model, pipeline.cut)
    for name in local:
        if strategy.zero_stage and mesh.size("shard") > 1:
            over[name] = (*over.get(name, ()), "shard")
        if pipeline is not None:
            over[name] = (*over.get(name, ()), "pp")
    return Sharded(
        model=model, mesh=mesh, strategy=strategy, division=division, local=local, shares=shares, over=over, rows=rows,
        pipeline=pipeline,
    )  # fmt: skip


def _divide_layers(model: nn.Module, strategy: Strategy, mesh: Mesh, pipeline: Pipeline | None) -> Division:
    """Tensor parallelism; a tied head goes by the embedding's name."""
    if (size := mesh.size("tp")) == 1:
        return Division()
    division = divide(model, mesh.group("tp"), mesh.index("tp"), size, sequence=strategy.sequence_parallel)
    if pipeline is not None and pipeline.cut.tied is not None and pipeline.cut.tied[0] in division.shares:
        division.shares[pipeline.cut.tied[1]] = division.shares.pop(pipeline.cut.tied[0])
    return division


def _divide_states(
    model: nn.Module, division: Division, strategy: Strategy, mesh: Mesh, pipeline: Pipeline | None
) -> tuple[dict[str, nn.Parameter], dict[str, Share], RowOptimizerShards | None]:
    """(parameters as the optimizer sees them, their shares, stage 1's rows) after ZeRO."""
    local = _canonical(model, pipeline)
    n, index = mesh.size("shard"), mesh.index("shard")
    if n == 1 or strategy.zero_stage == 0:
        return local, dict(division.shares), None
    if strategy.zero_stage == 1:
        rows = RowOptimizerShards(local, division.shares, mesh)
        return rows.rows, rows.shares, rows
    shares = {name: rows_of(name, p, division.shares, index, n)[2] for name, p in local.items()}
    shard_fully(model, mesh, strategy.zero_stage)
    return {name: nn.Parameter(_plain(p.data)) for name, p in _canonical(model, pipeline).items()}, shares, None


def _canonical(model: nn.Module, pipeline: Pipeline | None) -> dict[str, nn.Parameter]:
    """Trainable parameters by their names in the whole model: a tied head goes by the embedding's name."""
    names = dict([pipeline.cut.tied]) if pipeline is not None and pipeline.cut.tied is not None else {}
    return {names.get(name, name): p for name, p in model.named_parameters() if p.requires_grad}


def refuse_unbuilt(strategy: Strategy) -> None:
    """Raise InvalidInputError for a strategy that the runtime cannot carry out."""
    wrong = {
        "pp with bf16": strategy.pp > 1 and strategy.precision == "bf16",  # hangs in torch's exchange of shapes
        "pp with cp": strategy.pp > 1 and strategy.cp > 1,
        "pp with sequence_parallel and virtual_stages": strategy.sequence_parallel and strategy.virtual_stages > 1,
        "ep with zero_stage": strategy.ep > 1 and strategy.zero_stage > 0,
        "offload": strategy.offload != "none",
    }
    if unbuilt := [name for name, is_wrong in wrong.items() if is_wrong]:
        raise InvalidInputError(
            f"the runtime cannot carry out {', '.join(unbuilt)} of this strategy",
            hint="plan with data and tensor parallel only",
        )


def _plain(tensor: Any) -> Tensor:
    """The local part of a DTensor, as a plain tensor over the same memory."""
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


def _sum_local(parameters: Sequence[nn.Parameter], group: Any) -> None:
    """Sum the gradients that this process holds, divided over other axes or not."""
    if any(hasattr(p.grad, "to_local") for p in parameters):
        for parameter in parameters:
            if parameter.grad is not None:
                all_reduce(_plain(parameter.grad), group)
    else:
        sum_gradients(parameters, group)
