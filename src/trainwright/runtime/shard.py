"""A strategy put onto a model: which part of each parameter this process holds, and how gradients are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Strategy
from trainwright.runtime.collective import AGREEMENT, all_reduce, norm_of, sum_gradients
from trainwright.runtime.context import divide_attention, positions_of, stretch
from trainwright.runtime.device import to_device
from trainwright.runtime.expert import divide_experts
from trainwright.runtime.fp8 import use_eight_bits
from trainwright.runtime.hollow import make_room
from trainwright.runtime.loss import divided_loss_sum, loss_sum
from trainwright.runtime.mesh import REPLICAS, STATES, Mesh, MeshAxis
from trainwright.runtime.model import logits_of
from trainwright.runtime.offload import HostStates
from trainwright.runtime.own import Sample, own_loss, part_losses, trains_in_parts
from trainwright.runtime.pipeline import Pipeline, make_pipeline
from trainwright.runtime.precision import Precision
from trainwright.runtime.recompute import recompute_blocks
from trainwright.runtime.share import Share
from trainwright.runtime.stage import watch_last_blocks
from trainwright.runtime.tensor import Division, divide
from trainwright.runtime.zero import RowOptimizerShards, rows_of, shard_fully

Mark = Callable[[str], None]
Micro = tuple[Tensor | Sample, Tensor]
"""Inputs and targets of one forward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharded:
    """A model on its mesh.

    ``local`` are this process's parameters as the optimizer sees them, plain tensors by name, and ``divided`` the same
    where the model lies (they differ where the optimizer's are in host memory); ``shares`` says which
    part of the whole each divided one is, ``over`` which axes divide it; ``experts`` lie on one process of ``ep`` each.
    ``division`` is what tensor parallelism made.
    """

    model: nn.Module
    mesh: Mesh
    strategy: Strategy
    division: Division
    local: dict[str, nn.Parameter]
    divided: dict[str, nn.Parameter]
    shares: dict[str, Share]
    over: dict[str, tuple[MeshAxis, ...]] = field(default_factory=dict)
    experts: frozenset[str] = frozenset()
    rows: tuple[RowOptimizerShards, ...] = ()
    host: HostStates | None = None
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

    def forward(self, inputs: Tensor | Sample, targets: Tensor) -> Tensor:
        """The loss of a micro-batch, summed over this process's part of it."""
        if isinstance(inputs, Sample):
            return own_loss(self.model, inputs)
        return self.loss(*self._logits_and_targets(inputs, targets))

    @property
    def tied(self) -> str | None:
        """The weight that this process holds as first or last stage, and the other of them too."""
        return None if self.pipeline is None or self.pipeline.tied_group is None else self.pipeline.tied_name

    def check(self, inputs: Tensor, targets: Tensor, *, hits: bool) -> Tensor:
        """[loss summed, targets, how often the likeliest answer is right] of this process's part; needs no gradient."""
        if self.pipeline is not None:
            config: Any = self.model.config
            ids, wanted = self._stretched(inputs, targets)
            found = self.pipeline.logits(ids, config.hidden_size)
            if found is None:
                return torch.zeros(3, dtype=torch.float64)
            logits = found
        else:
            logits, wanted = self._logits_and_targets(inputs, targets)
        right = float((logits.argmax(-1) == wanted).sum()) if hits else 0.0
        return torch.tensor(
            [float(self.loss(logits, wanted)), float((wanted != -100).sum()), right], dtype=torch.float64
        )

    def _logits_and_targets(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        ids, wanted = self._stretched(inputs, targets)
        positions = positions_of(ids, self.mesh.index("cp"), self.mesh.size("cp"))
        return logits_of(self.model, ids, **positions), wanted

    def _stretched(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """This process's stretch of the sequences, all of them without context parallelism."""
        size, index = self.mesh.size("cp"), self.mesh.index("cp")
        return stretch(inputs, index, size), stretch(targets, index, size)

    def rounds(self, micros: Sequence[Micro], scale: float, run: Precision, mark: Mark) -> Iterator[Tensor]:
        """The losses of one step, each to be followed by an update: one, unless the module trains in parts."""
        sample = micros[0][0]
        if isinstance(sample, Sample) and trains_in_parts(self.model):
            if len(micros) > 1:
                raise InvalidInputError(
                    f"the module trains in parts, and the plan cuts its batch into {len(micros)} pieces",
                    hint=f"plan with --pins micro_batch={len(micros) * sample.n_rows}",
                )
            yield from part_losses(self.model, sample, scale, run, mark)
        else:
            yield self.gradients(micros, scale, run, mark)

    def gradients(self, micros: Sequence[Micro], scale: float, run: Precision, mark: Mark) -> Tensor:
        """Forward and backward of each micro-batch (inputs, targets); returns ``scale`` times the sum of their losses.

        Gradients of that are added up in the parameters; ``mark`` is told what was done when it is done.
        """
        if self.pipeline is not None:
            parts = [self._stretched(i, t) for i, t in micros if isinstance(i, Tensor)]
            return self.pipeline.gradients(parts, lambda out, wanted: scale * self.loss(out, wanted), run, mark)
        total = torch.zeros((), device=self.mesh.device)
        for inputs, targets in micros:
            with run():
                loss = scale * self.forward(inputs, targets)
            mark("forward")
            loss.backward()
            mark("backward")
            total += loss.detach()
        return total

    def join(self, loss: Tensor, flags: Sequence[float]) -> tuple[float, float, list[float]]:
        """Once a step: leave in ``local`` the gradients of the whole batch; (loss, norm, sums of flags) over all.

        Where every process ends up with every gradient, loss and flags travel with them and the norm needs no word.
        """
        own = list(self.named.values()) if self._all_hold_all else []
        if not own or any(p.dtype != torch.float32 for p in own):
            self.join_gradients()
            return self.agree(loss, flags)
        riders = torch.cat([loss.detach().float().reshape(1), torch.tensor(flags, device=loss.device)])
        sum_gradients(own, self.mesh.group(*STATES, *REPLICAS), riders=riders)
        total, *summed = riders.tolist()
        if self.host is not None:
            self.host.take_gradients()
        return total, norm_of([p.grad for p in self.parameters if p.grad is not None]), summed

    @property
    def _all_hold_all(self) -> bool:
        """Whether the mesh has replicas of the whole model alone."""
        sizes, whole = self.mesh.sizes, (*STATES, *REPLICAS)
        plain = self.strategy.zero_stage == 0 and self.strategy.ep == 1
        return plain and self.mesh.size(*whole) > 1 and self.mesh.size(*whole) == self.mesh.size(*sizes)

    def join_gradients(self) -> None:
        """Once a step: leave in ``local`` the gradients of the whole batch."""
        self._join_where_they_are()
        if self.host is not None:
            self.host.take_gradients()

    def _join_where_they_are(self) -> None:
        if not self.mesh.sizes:
            return  # they are there: finding every parameter by its name would take longer than all else here
        named = self.named
        if partial := [named[name] for name in self.division.partial if name in named]:
            _sum_local(partial, self.mesh.group("tp"), "tp")
        if self.tied is not None and self.pipeline is not None:
            _sum_local([named[self.tied]], self.pipeline.tied_group, "pp")
        experts = [p for name, p in named.items() if name in self.experts]
        numbers = [p for p in named.values() if p.dim() == 0]  # which no ZeRO divides
        if self.strategy.zero_stage >= 2:
            if self.mesh.size("shard") == 1:
                self._sum(experts, *REPLICAS)
            self._sum(numbers, *STATES, *REPLICAS)  # the others are fully_shard's
            for name, parameter in named.items():
                self.divided[name].grad = None if parameter.grad is None else _plain(parameter.grad)
                parameter.grad = None
            return
        if self.rows:
            self._sum(list(named.values()), *REPLICAS)
            self._sum(numbers, *STATES)
            for rows in self.rows:
                rows.take_gradients()
            return
        self._sum(experts, *REPLICAS)
        others = [p for name, p in named.items() if name not in self.experts]
        self._sum(others, *STATES, *REPLICAS)

    def _sum(self, parameters: list[nn.Parameter], *axes: MeshAxis) -> None:
        if parameters and self.mesh.size(*axes) > 1:
            sum_gradients(parameters, self.mesh.group(*axes))

    def after_update(self) -> None:
        """Once a step, after the optimizer: what was updated in host memory or apart gets to where it is used."""
        if self.host is not None:
            self.host.give_parameters()
        for rows in self.rows:
            rows.give_parameters()

    def agree(self, loss: Tensor, flags: Sequence[float] = ()) -> tuple[float, float, list[float]]:
        """(loss, gradient norm, sums of flags) over all processes, in one small collective.

        Each process adds its part divided by how many processes hold the same.
        """
        mesh, tied = self.mesh, self.tied
        n = mesh.size(*mesh.sizes)
        parts: dict[float, list[Tensor]] = {}
        for name, p in self.local.items():
            if p.grad is not None:
                share = mesh.size(*self.over.get(name, ())) / n / (1 + (name == tied)) if n > 1 else 1.0
                parts.setdefault(share, []).append(p.grad)
        square = sum(share * norm_of(gradients) ** 2 for share, gradients in parts.items())
        values = torch.tensor([float(loss) / mesh.size("tp"), square, *flags], dtype=torch.float64)
        if n > 1:
            all_reduce(values, name=AGREEMENT)
        total, square, *summed = values.tolist()
        return total, square**0.5, summed

    def total(self, value: Tensor) -> Tensor:
        """A sum over the parts of the global batch that the processes saw, in place."""
        if not self.mesh.sizes:
            return value
        return all_reduce(value.div_(self.mesh.size("tp")))

    def told(self, parts: dict[str, float]) -> dict[str, float]:
        """A step's seconds by part as a report names them: a pipeline's waiting is its transfers and its bubble."""
        return parts if self.pipeline is None else self.pipeline.told(parts)

    @property
    def named(self) -> dict[str, nn.Parameter]:
        """The model's own trainable parameters here, by their names in the whole model."""
        return _canonical(self.model, self.pipeline)


def shard_model(model: nn.Module, strategy: Strategy, mesh: Mesh) -> Sharded:
    """Divide the model in place as the strategy says: stages, then columns and rows, sequences, experts, states.

    A hollow model gets memory for this process's part only, to be filled from a folder (weights.py).
    """
    refuse_unbuilt(strategy)
    pipeline = make_pipeline(model, strategy, mesh) if mesh.size("pp") > 1 else None
    division = _divide_layers(model, strategy, mesh, pipeline)
    over: dict[str, tuple[MeshAxis, ...]] = dict.fromkeys(division.shares, ("tp",) if mesh.size("tp") > 1 else ())
    if (size := mesh.size("cp")) > 1:
        divide_attention(model, mesh.group("cp"), mesh.index("cp"), size, strategy.cp_kind)
    if strategy.ep > 1:
        for name in divide_experts(model, division.shares, mesh.group("ep"), mesh.index("ep"), int(strategy.ep)):
            over[name] = (*over.get(name, ()), "ep")
    experts = frozenset(name for name, axes in over.items() if "ep" in axes)
    recompute_blocks(model, strategy.recompute, int(strategy.recompute_every))
    to_device(model, mesh.device)
    if strategy.precision == "fp8":
        use_eight_bits(model)
    local, shares, rows = _divide_states(model, division, strategy, mesh, (pipeline, experts))
    host = HostStates(local) if strategy.offload == "optimizer" else None
    if pipeline is not None:
        watch_last_blocks(model, pipeline.cut)
    for name in local:
        if strategy.zero_stage and local[name].dim():
            over[name] = (*over.get(name, ()), *(("shard",) if name in experts else STATES))
        if pipeline is not None:
            over[name] = (*over.get(name, ()), "pp")
    return Sharded(
        model=model, mesh=mesh, strategy=strategy, division=division, shares=shares, over=over, rows=rows,
        local=local if host is None else host.local, experts=experts, pipeline=pipeline, host=host, divided=local,
    )  # fmt: skip


def _divide_layers(model: nn.Module, strategy: Strategy, mesh: Mesh, pipeline: Pipeline | None) -> Division:
    """Tensor parallelism; a tied head goes by the embedding's name."""
    if (size := mesh.size("tp")) == 1:
        return Division()
    division = divide(
        model,
        mesh.group("tp"),
        mesh.index("tp"),
        size,
        sequence=strategy.sequence_parallel,
        cut=None if pipeline is None else pipeline.cut,
    )
    if pipeline is not None and pipeline.cut.tied is not None and pipeline.cut.tied[0] in division.shares:
        division.shares[pipeline.cut.tied[1]] = division.shares.pop(pipeline.cut.tied[0])
    return division


def _divide_states(
    model: nn.Module,
    division: Division,
    strategy: Strategy,
    mesh: Mesh,
    parts: tuple[Pipeline | None, frozenset[str]],
) -> tuple[dict[str, nn.Parameter], dict[str, Share], tuple[RowOptimizerShards, ...]]:
    """(parameters as the optimizer sees them, their shares, stage 1's rows) after ZeRO; parts: pipeline, experts."""
    pipeline, experts = parts
    if strategy.zero_stage < 2 or mesh.size(*STATES) == 1:
        make_room(model, mesh.device)
    local, shares = _canonical(model, pipeline), dict(division.shares)
    if mesh.size(*STATES) == 1 or strategy.zero_stage == 0:
        return local, shares, ()
    kinds: tuple[tuple[tuple[MeshAxis, ...], list[str]], ...] = (
        (STATES, [name for name, p in local.items() if name not in experts and p.dim()]),
        (("shard",), [name for name in local if name in experts]),
    )
    divided = [(axes, {name: local[name] for name in names}) for axes, names in kinds if mesh.size(*axes) > 1]
    if strategy.zero_stage == 1:
        rows = tuple(RowOptimizerShards(own, shares, mesh, axes) for axes, own in divided if own)
        for each in rows:
            local, shares = local | each.rows, shares | each.shares
        return local, shares, rows
    for axes, own in divided:
        at, n = mesh.index(*axes), mesh.size(*axes)
        shares |= {name: rows_of(name, p, shares, at, n)[2] for name, p in own.items()}
    at_host = strategy.offload == "parameters"
    shard_fully(model, mesh, strategy.zero_stage, experts, at_host=at_host)
    make_room(model, torch.device("cpu") if at_host else mesh.device)
    return {name: nn.Parameter(_plain(p.data)) for name, p in _canonical(model, pipeline).items()}, shares, ()


def _canonical(model: nn.Module, pipeline: Pipeline | None) -> dict[str, nn.Parameter]:
    """Trainable parameters by their names in the whole model: a tied head goes by the embedding's name."""
    names = dict([pipeline.cut.tied]) if pipeline is not None and pipeline.cut.tied is not None else {}
    return {names.get(name, name): p for name, p in model.named_parameters() if p.requires_grad}


def refuse_unbuilt(strategy: Strategy) -> None:
    """Raise InvalidInputError for a strategy that the runtime cannot carry out."""
    if strategy.offload == "parameters" and strategy.zero_stage < 3:
        raise InvalidInputError(
            f"offload of parameters needs them sharded, and zero_stage is {strategy.zero_stage}",
            hint='use zero_stage 3, or offload "optimizer"',
        )
    if strategy.offload == "parameters" and strategy.ep > 1:
        raise InvalidInputError(
            "offload of parameters does not go with experts divided over ep", hint='use ep 1, or offload "optimizer"'
        )


def _plain(tensor: Any) -> Tensor:
    """The local part of a DTensor, as a plain tensor over the same memory."""
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


def _sum_local(parameters: Sequence[nn.Parameter], group: Any, axis: str) -> None:
    """Sum the gradients that this process holds, divided over other axes or not."""
    if any(hasattr(p.grad, "to_local") for p in parameters):
        for parameter in parameters:
            if parameter.grad is not None:
                all_reduce(_plain(parameter.grad), group, name=f"{axis} all_reduce")
    else:
        sum_gradients(parameters, group, axis)
