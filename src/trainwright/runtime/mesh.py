"""A strategy's axes as process groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Axis, Strategy
from trainwright.runtime.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Where this process stands on each axis; an axis of size 1 has no group.

    ``device_mesh`` is None for one process.
    """

    sizes: dict[Axis, int]
    indexes: dict[Axis, int]
    device_mesh: DeviceMesh | None = None

    def size(self, axis: Axis) -> int:
        """How many processes the axis has."""
        return self.sizes.get(axis, 1)

    def index(self, axis: Axis) -> int:
        """This process's place on the axis."""
        return self.indexes.get(axis, 0)

    def group(self, axis: Axis) -> Any:
        """The process group of the axis; None when it has one process."""
        return self.device_mesh.get_group(axis) if self.device_mesh is not None and self.size(axis) > 1 else None


def make_mesh(strategy: Strategy, place: Place, device_type: str = "cpu") -> Mesh:
    """Lay the axes over the ranks: the first axis of ``strategy.order`` joins neighbouring ranks.

    Raises InvalidInputError when the strategy does not use exactly the processes there are.
    """
    axes: list[Axis] = [axis for axis in reversed(strategy.order) if axis != "ep" and getattr(strategy, axis) > 1]
    sizes: dict[Axis, int] = {axis: int(getattr(strategy, axis)) for axis in axes}
    wanted = int(strategy.n_devices)
    if wanted != place.n_processes:
        split = " x ".join(f"{axis} {size}" for axis, size in sizes.items()) or "one process"
        raise InvalidInputError(
            f"the strategy ({split}) is for {wanted} processes and there are {place.n_processes}",
            hint=f"start {wanted} processes, or plan again for {place.n_processes}",
        )
    if wanted == 1:
        return Mesh(sizes={}, indexes={})
    device_mesh = init_device_mesh(device_type, tuple(sizes.values()), mesh_dim_names=tuple(sizes))
    coordinate = device_mesh.get_coordinate()
    assert coordinate is not None, dist.get_rank()
    return Mesh(sizes=sizes, indexes=dict(zip(sizes, coordinate, strict=True)), device_mesh=device_mesh)
