"""What sort of training a step is: software reaches different shares of a device for each."""

from __future__ import annotations

from typing import Literal

from trainwright.jobs.job import Workload
from trainwright.models.spec import Attention, Matmul, ModelSpec

Kind = Literal["dense", "experts", "adapters", "encoder", "other"]
"""Dense decoders, mixtures of experts, adapters (LoRA), encoders, and all else (convolutions)."""


def kind_of(model: ModelSpec, workload: Workload) -> Kind:
    """The kind.

    >>> from trainwright.models.catalogue import model
    >>> kind_of(model("llama-3-8b"), Workload(global_batch=1, seq=8))
    'dense'
    """
    return "adapters" if workload.objective == "lora" else _kind(model)


def _kind(model: ModelSpec) -> Kind:
    ops = [op for block in model.blocks for op in block.ops]
    if any(isinstance(op, Matmul) and op.n_experts > 1 for op in ops):
        return "experts"
    attention = [op for op in ops if isinstance(op, Attention)]
    if not attention:
        return "other"
    return "dense" if any(op.causal for op in attention) else "encoder"
