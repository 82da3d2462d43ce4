"""States divided over the data-parallel processes: ZeRO stages 1, 2 and 3 (Rajbhandari et al., arXiv:1910.02054).

Stages 2 and 3 are torch's ``fully_shard``: rows of every parameter, its gradient and its optimizer states lie on one
process; stage 3 frees the gathered parameters of a block after its forward too. Stage 1 keeps parameters and gradients
whole and divides the optimizer: gradients are reduce-scattered by rows, each process updates its rows, and rows are
gathered again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultAllGather, DefaultReduceScatter

from trainwright.runtime.collective import WIRE, gather_into, scatter_into
from trainwright.runtime.mesh import STATES, Mesh, MeshAxis
from trainwright.runtime.recompute import blocks_of
from trainwright.runtime.share import Share, cut_again, even_cut, whole


class _Gathering(DefaultAllGather):
    """torch's own all-gather of parameters, timed."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As torch's."""
        with WIRE.running("dp all_gather"):
            return super().__call__(*args, **kwargs)


class _Scattering(DefaultReduceScatter):
    """torch's own reduce-scatter of gradients, timed."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As torch's."""
        with WIRE.running("dp reduce_scatter"):
            return super().__call__(*args, **kwargs)


def shard_fully(
    model: nn.Module, mesh: Mesh, stage: int, experts: frozenset[str] = frozenset(), *, at_host: bool = False
) -> None:
    """Stages 2 and 3, in place; gradients are summed, not averaged.

    ``at_host``: shards, their gradients and the optimizer's states live in host memory, pinned beside a GPU, and go to
    the device a block at a time.

    ``experts``: parameters that lie on one process of the axis ``ep`` each; they are divided over ``shard`` alone, and
    left as they are where that has one process. So are single numbers, such as CLIP's temperature.
    """
    named, modules = dict(model.named_parameters()), dict(model.named_modules())
    kept = {named[name] for name in experts} if mesh.size("shard") == 1 else set()
    whole_experts = bool(kept)
    policy = CPUOffloadPolicy(pin_memory=mesh.device.type == "cuda") if at_host else OffloadPolicy()
    how: dict[str, Any] = {"reshard_after_forward": stage == 3, "offload_policy": policy}
    kept |= {parameter for parameter in named.values() if parameter.dim() == 0}
    if not whole_experts:
        for owner in dict.fromkeys(name.rpartition(".")[0] for name in sorted(experts)):
            fully_shard(modules[owner], mesh=mesh.sharding_mesh("shard"), **how)
    over = mesh.sharding_mesh(*STATES)
    for module in (*(block for block in blocks_of(model) if any(True for _ in block.parameters())), model):
        fully_shard(module, mesh=over, ignored_params=kept, **how)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sums
            module.set_custom_all_gather(_Gathering())
            module.set_custom_reduce_scatter(_Scattering())


def rows_of(name: str, parameter: Tensor, shares: Mapping[str, Share], index: int, n: int) -> tuple[int, int, Share]:
    """Stage 2 and 3: this process's rows of a local parameter (torch.chunk's cut), and their share of the whole."""
    share = shares.get(name, whole(tuple(parameter.shape)))
    n_rows = share.local_shape[0]
    chunk = -(-n_rows // n)
    begin, end = min(index * chunk, n_rows), min((index + 1) * chunk, n_rows)
    return begin, end, cut_again(share, begin, end)


class RowOptimizerShards:
    """Stage 1: this process's rows of every parameter, as the optimizer's own parameters over the same memory."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        shares: Mapping[str, Share],
        mesh: Mesh,
        over: tuple[MeshAxis, ...] = STATES,
    ) -> None:
        self._group: Any = mesh.group(*over)
        self._n = mesh.size(*over)
        self._index = mesh.index(*over)
        self._parameters = parameters
        self.rows: dict[str, nn.Parameter] = {}
        self.shares: dict[str, Share] = {}
        for name, parameter in parameters.items():
            begin, end = self._cut(parameter, self._index)
            self.rows[name] = nn.Parameter(_flat_rows(parameter.data)[begin:end])
            share = shares.get(name, whole(tuple(parameter.shape)))
            self.shares[name] = cut_again(share, begin, end)

    def take_gradients(self) -> None:
        """Sum gradients over the group so that each process has those of its rows; the whole ones are freed."""
        most = sum(self._most(p) for p in self._parameters.values())
        first = next(iter(self._parameters.values()))
        dtype, device = first.dtype, first.device
        source = torch.zeros(self._n, most, dtype=dtype, device=device)
        for rank in range(self._n):
            at = 0
            for parameter in self._parameters.values():
                begin, end = self._cut(parameter, rank)
                if parameter.grad is not None:
                    piece = _flat_rows(parameter.grad)[begin:end].reshape(-1)
                    source[rank, at : at + piece.numel()] = piece
                at += self._most(parameter)
        for parameter in self._parameters.values():
            parameter.grad = None
        mine = torch.empty(most, dtype=dtype, device=device)
        with WIRE.running("dp reduce_scatter"):
            scatter_into(mine, source.view(-1), group=self._group)
        at = 0
        for name, parameter in self._parameters.items():
            rows = self.rows[name]
            rows.grad = mine[at : at + rows.numel()].view_as(rows)
            at += self._most(parameter)

    @torch.no_grad()
    def give_parameters(self) -> None:
        """After the optimizer's step: everybody gets everybody's rows."""
        most = sum(self._most(p) for p in self._parameters.values())
        mine = next(iter(self._parameters.values())).new_zeros(most)
        at = 0
        for name, parameter in self._parameters.items():
            mine[at : at + self.rows[name].numel()] = self.rows[name].reshape(-1)
            at += self._most(parameter)
        all_rows = mine.new_empty(self._n * most)
        with WIRE.running("dp all_gather"):
            gather_into(all_rows, mine, group=self._group)
        for rank, theirs in enumerate(all_rows.view(self._n, most)):
            at = 0
            for parameter in self._parameters.values():
                begin, end = self._cut(parameter, rank)
                target = _flat_rows(parameter.data)[begin:end]
                target.copy_(theirs[at : at + target.numel()].view_as(target))
                at += self._most(parameter)

    def _cut(self, parameter: Tensor, rank: int) -> tuple[int, int]:
        span = even_cut((_flat_rows(parameter).shape[0],), 0, rank, self._n).spans[0]
        return span.offset[0], span.offset[0] + span.size[0]

    def _most(self, parameter: Tensor) -> int:
        """Elements of the largest part, so that all parts travel in buffers of one size."""
        rows = _flat_rows(parameter)
        return -(-rows.shape[0] // self._n) * (rows[0].numel() if rows.dim() > 1 else 1)


def _flat_rows(tensor: Tensor) -> Tensor:
    return tensor if tensor.dim() else tensor.view(1)
