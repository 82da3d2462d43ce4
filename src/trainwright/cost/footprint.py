"""What a step goes over before it comes back to the same memory: it decides which of a CPU's caches streams find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import exp, log

from trainwright.hardware.cluster import NodeGroup
from trainwright.hardware.device import FOOTPRINTS
from trainwright.jobs.job import Workload
from trainwright.models.saved import op_saved_bytes
from trainwright.models.spec import ModelSpec, SavedDtype

STATE_BYTES = 16.0
"""A parameter with its gradient and two moments, in fp32."""


def footprint_bytes(model: ModelSpec, workload: Workload, n_devices: float) -> float:
    """States and what forward keeps for backward, of a device's share of the batch, whatever the strategy."""
    batch = max(workload.global_batch / n_devices, 1.0)
    saved = (b.repeats * op_saved_bytes(op, batch, float(workload.seq), _WIDTHS) for b in model.blocks for op in b.ops)
    return float(STATE_BYTES * model.n_parameters + sum(saved))


_WIDTHS: Mapping[SavedDtype, float] = {"parameter": 4.0, "compute": 4.0, "int64": 8.0, "bool": 1.0, "fp32": 4.0}


def in_step(group: NodeGroup, model: ModelSpec, workload: Workload) -> NodeGroup:
    """The group with its streams as they run in a step of this footprint: between those of a small and a large one."""
    known = group.device.efficiency
    if not known.far_points:
        return group
    small, large = FOOTPRINTS
    size = min(max(footprint_bytes(model, workload, group.n_devices), small), large)
    share = log(size / small) / log(large / small)
    points = tuple(
        (touched, exp((1.0 - share) * log(near) + share * log(far)))
        for (touched, near), (_, far) in zip(known.stream_points, known.far_points, strict=True)
    )
    return replace(group, device=replace(group.device, efficiency=replace(known, stream_points=points, far_points=())))
