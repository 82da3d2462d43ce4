"""Bytes of parameters, gradients and optimizer states on one device: by sharding, precision and optimizer."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from trainwright.cost.activations import Keeper
from trainwright.jobs.job import OptimizerName, Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import Block, Lookup, Matmul, Op
from trainwright.units import Number

Counts = NDArray[np.float64]
"""Parameters by how they are divided: (replicated over tp, divided by tp, divided by tp and ep)."""

NF4_BYTES = 0.5625
"""Bytes of a weight in 4-bit NormalFloat: half a byte, and an fp32 scale for each 64 (arXiv:2305.14314; double
quantization would save 0.05)."""

_MOMENTS: dict[OptimizerName, float] = {"sgd": 1.0, "adam": 2.0, "adamw": 2.0, "adamw8bit": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Parameters of a block before any division: all, those trained, and optimizer moments in elements of fp32."""

    held: Counts
    trained: Counts
    moments: Counts
    in_four_bits: Counts

    def times(self, factor: float) -> Weights:
        """Every count multiplied."""
        return Weights(**{field.name: getattr(self, field.name) * factor for field in fields(self)})


def weights(block: Block, workload: Workload) -> Weights:
    """Parameters of one repeat of a block."""
    held, trained, moments, in_four_bits = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3)
    for op in block.ops:
        place = 2 if op.split == "expert" else 0 if op.split == "none" else 1
        n_trained = trained_parameters(op, workload)
        held[place] += op.n_parameters + (n_trained if workload.objective == "lora" else 0)
        trained[place] += n_trained
        moments[place] += n_moments(op, n_trained, workload.optimizer)
        if workload.quantized_base and isinstance(op, Matmul) and op.split != "vocabulary":
            in_four_bits[place] += op.n_parameters
    return Weights(held=held, trained=trained, moments=moments, in_four_bits=in_four_bits)


def trained_parameters(op: Op, workload: Workload) -> float:
    """Parameters of an op that get gradients; LoRA trains rank * (k + n) beside each matrix but the head's.

    Source: Hu et al., arXiv:2106.09685.
    """
    if workload.objective != "lora":
        return op.n_parameters if op.trainable else 0
    if not isinstance(op, Matmul) or not op.n_parameters or op.split == "vocabulary":
        return 0.0
    return float((workload.lora_rank or 0) * (op.k + op.n) * op.n_experts)


def n_moments(op: Op, n_trained: float, optimizer: OptimizerName) -> float:
    """Optimizer states of an op, in elements of the moments' dtype.

    SGD: momentum; Adam: two moments (arXiv:1412.6980); 8-bit Adam: two of one byte (arXiv:2110.02861); Adafactor: a
    row and a column sum for each matrix (arXiv:1804.04235); Muon: momentum of matrices inside
    the blocks, Adam's two of the rest.
    """
    if optimizer in _MOMENTS:
        return _MOMENTS[optimizer] * n_trained
    is_inner = isinstance(op, Matmul) and op.split != "vocabulary"
    if optimizer == "muon":
        return n_trained if is_inner else 2.0 * n_trained
    if isinstance(op, Lookup):
        return float(op.n_entries + op.width)
    return float(op.k + op.n) * op.n_experts if isinstance(op, Matmul) else n_trained


@dataclass(frozen=True, slots=True, kw_only=True)
class StateBytes:
    """Bytes of one repeat of a block's states on one device."""

    parameters: Number
    gradients: Number
    optimizer: Number
    gathered: Number
    whole_gradients: Number


def state_bytes(block: Weights, keeper: Keeper) -> StateBytes:
    """States as ZeRO stage, tensor and expert parallelism divide them.

    16 bytes a parameter for Adam in mixed precision and 18 with fp32 gradients; stage 1 shards the optimizer's 12,
    stage 2 the gradients too, stage 3 everything. ``gathered`` and ``whole_gradients`` are the same block unsharded.

    Source: Rajbhandari et al., arXiv:1910.02054, section 3; Megatron-Core, distributed optimizer.
    """
    strategy, rules = keeper.strategy, keeper.rules
    kept = keeper.compute_bytes if rules.parameter_bytes is None else rules.parameter_bytes
    gradient = kept if rules.gradient_bytes is None else rules.gradient_bytes
    master = 4.0 if rules.master_weights and kept < 4.0 else 0.0
    moment = rules.moment_bytes
    zero = strategy.zero_stage
    sharded = on_device(block.held, strategy, zero >= 3)
    saved = (kept - NF4_BYTES) * on_device(block.in_four_bits, strategy, zero >= 3)
    optimizer = moment * on_device(block.moments, strategy, zero >= 1)
    optimizer = optimizer + master * on_device(block.trained, strategy, zero >= 1)
    return StateBytes(
        parameters=0.0 if strategy.offload == "parameters" else kept * sharded - saved,
        gradients=gradient * on_device(block.trained, strategy, zero >= 2),
        optimizer=0.0 if strategy.offload != "none" else optimizer,
        gathered=keeper.compute_bytes * on_device(block.held, strategy, is_sharded=False),
        whole_gradients=rules.reduce_bytes * on_device(block.trained, strategy, is_sharded=False),
    )


def on_device(counts: Counts, strategy: Strategy, is_sharded: bool) -> Number:
    """Elements on one device. Experts lie on ep ranks, which leaves dp / ep to shard each over."""
    dense: Number = counts[0] + counts[1] / strategy.tp
    expert = counts[2] / (strategy.tp * strategy.ep)
    shard = strategy.dp * strategy.cp if strategy.shard is None else strategy.shard
    if is_sharded:
        dense, expert = dense / shard, expert / np.maximum(shard / strategy.ep, 1.0)
    total: Number = dense + expert
    return total
