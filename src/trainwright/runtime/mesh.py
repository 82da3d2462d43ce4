"""A strategy's axes as process groups.

Data parallel is three axes inside: ``ep`` (processes that divide experts between them), ``shard`` (processes that
divide states; those of what is no expert are divided over ep too) and ``rep`` (replicas of those). Plain data parallel
has ep and shard 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Strategy
from trainwright.runtime.collective import name_group
from trainwright.runtime.place import Place

MeshAxis = Literal["tp", "cp", "ep", "shard", "rep", "pp"]
STATES: tuple[MeshAxis, ...] = ("ep", "shard")
"""Axes that divide the states of what is no expert."""
REPLICAS: tuple[MeshAxis, ...] = ("cp", "rep")
"""Axes over which divided states are held alike."""
JOINT: tuple[tuple[MeshAxis, ...], ...] = (STATES, REPLICAS, (*STATES, *REPLICAS), (*STATES, "rep"))
"""Axes that some collective crosses together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Where this process stands: sizes and its index on each axis, fastest axis first; axes of size 1 are absent."""

    sizes: dict[MeshAxis, int]
    indexes: dict[MeshAxis, int]
    groups: dict[tuple[MeshAxis, ...], Any] = field(default_factory=dict)
    ranks: dict[tuple[MeshAxis, ...], tuple[int, ...]] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def size(self, *axes: MeshAxis) -> int:
        """How many processes the axes have together."""
        return math.prod(self.sizes.get(axis, 1) for axis in axes)

    def index(self, *axes: MeshAxis) -> int:
        """This process's place on the axes, the first the fastest."""
        place, stride = 0, 1
        for axis in axes:
            place += stride * self.indexes.get(axis, 0)
            stride *= self.sizes.get(axis, 1)
        return place

    def group(self, *axes: MeshAxis) -> Any:
        """The process group over the axes; None (and never to be used) when they have one process."""
        return self.groups.get(self._present(axes))

    @property
    def dp(self) -> int:
        """Data-parallel processes."""
        return self.size(*STATES, "rep")

    @property
    def dp_index(self) -> int:
        """This process's place among them: which part of the batch it sees."""
        return self.index(*STATES, "rep")

    def sharding_mesh(self, *over: MeshAxis) -> DeviceMesh:
        """What fully_shard divides states over: these axes, with replicas around them where there are some."""
        shard, replicas = self._present(over), self._present(REPLICAS)
        if not replicas:
            return DeviceMesh.from_group(self.groups[shard], self.device.type, mesh_dim_names=("shard",))
        axes = self._present((*shard, *replicas))
        grid = torch.tensor(self.ranks[axes]).view([self.sizes[axis] for axis in reversed(axes)])
        slowest_first = [len(axes) - 1 - axes.index(axis) for axis in (*reversed(replicas), *reversed(shard))]
        return DeviceMesh.from_group(
            [self.groups[replicas], self.groups[shard]],
            self.device.type,
            mesh=grid.permute(slowest_first).reshape(-1, self.size(*shard)),
            mesh_dim_names=("replicate", "shard"),
        )

    def _present(self, axes: Sequence[MeshAxis]) -> tuple[MeshAxis, ...]:
        return tuple(axis for axis in self.sizes if axis in axes)


def make_mesh(strategy: Strategy, place: Place) -> Mesh:
    """Lay the axes over the ranks: the first axis of ``strategy.order`` joins neighbouring ranks.

    Raises InvalidInputError when the strategy does not use exactly the processes there are.
    """
    sizes = _sizes(strategy)
    wanted = math.prod(sizes.values())
    if wanted != place.n_processes:
        split = " x ".join(f"{axis} {size}" for axis, size in sizes.items()) or "one process"
        raise InvalidInputError(
            f"the strategy ({split}) is for {wanted} processes and there are {place.n_processes}",
            hint=f"start {wanted} processes, or plan again for {place.n_processes}",
        )
    indexes = _indexes(sizes, place.rank)
    mesh = Mesh(sizes=sizes, indexes=indexes, device=place.device)
    joint = [tuple(axis for axis in sizes if axis in axes) for axes in JOINT]
    for axes in dict.fromkeys([*((axis,) for axis in sizes), *(j for j in joint if j)]):
        for ranks in _all_groups(sizes, axes):
            group = dist.new_group(list(ranks))
            if place.rank in ranks:
                mesh.groups[axes], mesh.ranks[axes] = group, ranks
                name_group(group, axes[0] if len(axes) == 1 and axes[0] not in ("shard", "rep") else "dp")
    return mesh


def _sizes(strategy: Strategy) -> dict[MeshAxis, int]:
    """Size by axis, fastest first, axes of one process left out."""
    dp, ep = int(strategy.dp), int(strategy.ep)
    states = ep
    if strategy.zero_stage > 0:
        states = int(strategy.shard) if strategy.shard is not None else dp
    if dp % states or states % ep:
        raise InvalidInputError(
            f"dp {dp} does not divide into groups of {states} that share states or experts, with experts over {ep}",
            hint=f"choose a divisor of {dp} that ep divides",
        )
    sizes: dict[MeshAxis, int] = {}
    for axis in strategy.order:
        if axis == "dp":
            sizes |= {"ep": ep, "shard": states // ep, "rep": dp // states}
        elif axis != "ep":
            sizes[axis] = int(getattr(strategy, axis))
    return {axis: size for axis, size in sizes.items() if size > 1}


def _indexes(sizes: dict[MeshAxis, int], rank: int) -> dict[MeshAxis, int]:
    indexes: dict[MeshAxis, int] = {}
    for axis, size in sizes.items():
        indexes[axis] = rank % size
        rank //= size
    return indexes


def _all_groups(sizes: dict[MeshAxis, int], axes: tuple[MeshAxis, ...]) -> list[tuple[int, ...]]:
    """Every group over the axes: ranks that agree on all the others.

    >>> _all_groups({"tp": 2, "rep": 2}, ("rep",))
    [(0, 2), (1, 3)]
    """
    strides: dict[MeshAxis, int] = {}
    stride = 1
    for axis, size in sizes.items():
        strides[axis] = stride
        stride *= size

    def places(some: list[MeshAxis]) -> list[int]:
        ranges = [range(sizes[axis]) for axis in reversed(some)]
        return [sum(i * strides[a] for i, a in zip(at, reversed(some), strict=True)) for at in product(*ranges)]

    others = places([axis for axis in sizes if axis not in axes])
    return [tuple(base + within for within in places(list(axes))) for base in others]
