"""Seconds of work that memory limits: norms, activations, copies, optimizer updates, embeddings."""

from __future__ import annotations

import numpy as np

from trainwright.cost.numbers import larger
from trainwright.hardware.device import Device
from trainwright.units import Number


def stream_s(
    touched_bytes: Number,
    device: Device,
    *,
    transcendental: Number = 0.0,
    working_set_bytes: Number | None = None,
    is_reduction: bool = False,
    is_near: bool = False,
) -> Number:
    """Seconds of one kernel that reads and writes ``touched_bytes`` and evaluates exp, tanh, ... so often.

    t = max(bytes / (bandwidth share(bytes)), transcendental / rate, launch); ``is_reduction`` for norms and softmax,
    which reduce each row before they write it and reach less of the bandwidth; ``is_near`` where the working set was
    touched just before.

    ``working_set_bytes`` (default: what is touched) decides which level of a CPU's caches serves it. On a GPU a
    kernel takes at least ``launch_s``; on a CPU dispatch adds to the work, so the step counts it, not this.

    >>> from trainwright.hardware.device import Efficiency, Saturation
    >>> flat = Saturation(best=1.0, half=0.0)
    >>> device = Device(name="d", vendor="v", architecture="a", kind="gpu", memory_bytes=8e9, memory_bytes_per_s=1e12,
    ...     flop_per_s={}, source="example", launch_s=4e-6,
    ...     efficiency=Efficiency(matmul={}, attention_forward=flat, attention_backward=flat, stream=flat))
    >>> float(stream_s(1e9, device)), float(stream_s(1e3, device))  # 1 GB at 1 TB/s; a tiny kernel is its launch
    (0.001, 4e-06)
    """
    working_set = larger(touched_bytes if working_set_bytes is None else working_set_bytes, 1.0)
    rate = stream_bytes_per_s(device, working_set, is_near=is_near)
    work_s = touched_bytes / (rate * device.efficiency.reduction if is_reduction else rate)
    if device.efficiency.transcendental_per_s is not None:
        work_s = larger(work_s, transcendental / device.efficiency.transcendental_per_s)
    return work_s if device.kind == "cpu" else larger(work_s, device.launch_s)


def stream_bytes_per_s(device: Device, working_set_bytes: Number, *, is_near: bool = False) -> Number:
    """Bytes per second of a stream over this many bytes: measured by size where a probe did, else the curve."""
    measured = (device.efficiency.near_points if is_near else ()) or device.efficiency.stream_points
    if not measured:
        return device.memory_bytes_per_s * device.efficiency.stream.share(working_set_bytes)
    sizes, rates = np.array(measured).T
    rate: Number = np.exp(np.interp(np.log(working_set_bytes), np.log(sizes), np.log(rates)))
    return rate
