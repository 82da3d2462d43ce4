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
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard

from trainwright.runtime.collective import WIRE
from trainwright.runtime.mesh import STATES, Mesh, MeshAxis
from trainwright.runtime.recompute import blocks_of
from trainwright.runtime.share import Share, cut_again, even_cut, whole


def shard_fully(model: nn.Module, mesh: Mesh, stage: int, experts: frozenset[str] = frozenset()) -> None:
    """Stages 2 and 3, in place; gradients are summed, not averaged.

    ``experts``: parameters that lie on one process of the axis ``ep`` each; they are divided over ``shard`` alone, and
    left as they are where that has one process. So are single numbers, such as CLIP's temperature.
    """
    named, modules = dict(model.named_parameters()), dict(model.named_modules())
    kept = {named[name] for name in experts} if mesh.size("shard") == 1 else set()
    whole_experts = bool(kept)
    kept |= {parameter for parameter in named.values() if parameter.dim() == 0}
    if not whole_experts:
        for owner in dict.fromkeys(name.rpartition(".")[0] for name in sorted(experts)):
            fully_shard(modules[owner], mesh=mesh.sharding_mesh("shard"), reshard_after_forward=stage == 3)
    over = mesh.sharding_mesh(*STATES)
    for module in (*(block for block in blocks_of(model) if any(True for _ in block.parameters())), model):
        fully_shard(module, mesh=over, reshard_after_forward=stage == 3, ignored_params=kept)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sums


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
        dtype = next(iter(self._parameters.values())).dtype
        source = torch.zeros(self._n, most, dtype=dtype)
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
        mine = torch.empty(most, dtype=dtype)
        with WIRE.running(mine.nbytes):
            dist.reduce_scatter_tensor(mine, source.view(-1), group=self._group)
        at = 0
        for name, parameter in self._parameters.items():
            rows = self.rows[name]
            rows.grad = mine[at : at + rows.numel()].view_as(rows)
            at += self._most(parameter)

    @torch.no_grad()
    def give_parameters(self) -> None:
        """After the optimizer's step: everybody gets everybody's rows."""
        most = sum(self._most(p) for p in self._parameters.values())
        mine = torch.zeros(most, dtype=next(iter(self._parameters.values())).dtype)
        at = 0
        for name, parameter in self._parameters.items():
            mine[at : at + self.rows[name].numel()] = self.rows[name].reshape(-1)
            at += self._most(parameter)
        all_rows = mine.new_empty(self._n * most)
        with WIRE.running(mine.nbytes):
            dist.all_gather_into_tensor(all_rows, mine, group=self._group)
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
