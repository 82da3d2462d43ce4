"""What a step goes over before it comes back to the same memory: it decides which of a CPU's caches streams find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, log

import numpy as np

from trainwright.hardware.cluster import NodeGroup
from trainwright.hardware.device import FOOTPRINTS, KernelRate, UpdateCalls
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
    """The group with streams and kernels as they run in a step of this footprint: between a small and a large one's."""
    known = group.device.efficiency
    if not known.far_points:
        return group
    small, large = FOOTPRINTS
    size = min(max(footprint_bytes(model, workload, group.n_devices), small), large)
    share = log(size / small) / log(large / small)
    points = tuple(
        (touched, _between(near, far, share))
        for (touched, near), (_, far) in zip(known.stream_points, known.far_points, strict=True)
    )
    kernels = {kind: _rates(known.kernels[kind], far, share) for kind, far in known.far_kernels.items()}
    now = replace(
        known,
        stream_points=points,
        kernels={**known.kernels, **kernels},
        far_points=(),
        far_kernels={},
        update=_calls(known.update, share),
        clipped_update=_calls(known.clipped_update, share),
    )
    return replace(group, device=replace(group.device, efficiency=now))


def _rates(near: KernelRate, far: KernelRate, share: float) -> KernelRate:
    def mixed(rates: Sequence[float], others: Sequence[float]) -> tuple[float, ...]:
        at = np.interp(near.elements, far.elements, others)
        return tuple(_between(rate, float(other), share) for rate, other in zip(rates, at, strict=True))

    return KernelRate(
        elements=near.elements,
        forward_per_s=mixed(near.forward_per_s, far.forward_per_s),
        backward_per_s=mixed(near.backward_per_s, far.backward_per_s),
    )


def _calls(known: UpdateCalls, share: float) -> UpdateCalls:
    def mixed(near_s: float, far_s: float) -> float:
        return near_s + share * max(far_s - near_s, 0.0)

    return UpdateCalls(call_s=mixed(known.call_s, known.far_call_s), tensor_s=mixed(known.tensor_s, known.far_tensor_s))


def _between(near: float, far: float, share: float) -> float:
    """Between the two rates; nothing gets faster in a larger step."""
    return exp((1.0 - share) * log(near) + share * log(min(near, far)))
