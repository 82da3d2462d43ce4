"""The optimizer's step: bytes of states read and written, limited by memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainwright.cost.kernels import kernel_s
from trainwright.cost.pointwise import stream_s
from trainwright.cost.stack import Stack
from trainwright.cost.table import Array, Table
from trainwright.hardware.device import Device
from trainwright.jobs.job import OptimizerName

STATE_BYTES: dict[OptimizerName, float] = {
    "sgd": 4.0,
    "adam": 8.0,
    "adamw": 8.0,
    "adamw8bit": 2.0,
    "adafactor": 0.05,
    "muon": 4.0,
}
"""Bytes of optimizer state per parameter. Sources: Kingma and Ba, arXiv:1412.6980 (two moments in fp32); Dettmers
et al., arXiv:2110.02861 (two of 8 bits); Shazeer and Stern, arXiv:1804.04235 (rows and columns); Jordan, Muon, 2024."""

CLIPPED_IN_PASSING = ("adamw", "adam", "sgd")
"""Optimizers whose fused kernel scales the gradients as it reads them, and writes them back (runtime/sync.py)."""

FOREACH_PASSES = 2.5
"""How often an optimizer that is not one fused kernel goes over the states (PyTorch's foreach AdamW: 12 kernels)."""


def update_s(parameters: Any, tensors: Any, table: Table, device: Device, stack: Stack) -> Array:
    """Seconds of clipping and updating ``parameters`` in so many ``tensors`` per device (before sharding), per stage.

    bytes = states read and written + gradient read + parameter written (+ master copy read and written);
    clipping reads the gradient once more for its norm and rewrites it. Where a probe measured the optimizer, its
    parameters per second, and seconds per update and per tensor; one fused kernel clips as it goes.
    """
    sharded = table.dp * table.cp if table.strategy.zero_stage > 0 else 1.0
    if table.strategy.zero_stage > 0:
        sharded = np.minimum(table.shard * table.cp, sharded)
    own, held = device.efficiency, parameters / sharded
    if table.workload.optimizer in own.kernels and stack.fused_optimizer:
        passes = 1.0 if table.workload.optimizer in CLIPPED_IN_PASSING else 2.0
        clipped = stream_s(np.maximum(passes * stack.gradient_bytes * held, 1.0), device)
        clipped = (clipped + kernel_s("norm", held, device)) * table.workload.clip
        calls = own.clipped_update if table.workload.clip else own.update
        called = calls.call_s + tensors * calls.tensor_s
        return np.where(held > 0, kernel_s(table.workload.optimizer, held, device) + clipped + called, 0.0)
    low = table.strategy.precision not in ("fp32", "tf32")
    each = 2.0 * STATE_BYTES[table.workload.optimizer] + stack.gradient_bytes
    each = each + (10.0 if low and stack.master_weights else 8.0)
    each = each * (1.0 if stack.fused_optimizer else FOREACH_PASSES)
    if table.workload.clip:
        each = each + 3.0 * stack.gradient_bytes
    touched = held * each
    return np.where(touched > 0, stream_s(np.maximum(touched, 1.0), device), 0.0)
