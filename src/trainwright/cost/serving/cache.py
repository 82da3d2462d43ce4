"""What decoding keeps: bytes of the keys and values of a sequence, layer by layer."""

from __future__ import annotations

import numpy as np

from trainwright.cost.serving.replica import Replica
from trainwright.hardware.device import DTYPE_BYTES
from trainwright.models.spec import Attention, ModelSpec
from trainwright.units import Number

KV_BITS = {"int8": 8.5, "int4": 4.5, "fp8": 8.0}
"""Bits of a quantized element: with a 16-bit scale for every 32 (llama.cpp q8_0, q4_0); fp8 has one for a tensor."""


def kv_element_bytes(kv: str) -> float:
    """Bytes of one element of the cache.

    >>> kv_element_bytes("bf16"), kv_element_bytes("int4")
    (2.0, 0.5625)
    """
    return KV_BITS[kv] / 8.0 if kv in KV_BITS else DTYPE_BYTES[kv]


def cached_elements(op: Attention, tp: int = 1) -> float:
    """Elements that one token keeps in one layer on one of ``tp`` devices.

    2 kv_heads head_dim / tp, at least one head (none is cut); latent attention keeps rank + rope on every device.
    Source: Shazeer, arXiv:1911.02150; Ainslie et al., GQA, arXiv:2305.13245; DeepSeek-V2, arXiv:2405.04434.
    """
    if op.cached is not None:
        return float(op.cached)
    return max(op.n_kv_heads / tp, 1.0) * (op.qk_dim + op.v_dim)


def sequence_bytes(model: ModelSpec, kv: str, context: Number, *, tp: int = 1, pages_windows: bool = False) -> Number:
    """Bytes of the cache of one sequence of ``context`` tokens over all layers, on one of ``tp`` devices.

    A layer with a window keeps at most that many tokens, unless the engine ``pages_windows``.

    >>> from trainwright.models.catalogue import model
    >>> [float(sequence_bytes(model(name), "bf16", 1.0)) for name in ("llama-3-8b", "deepseek-v3")]
    [131072.0, 70272.0]
    """
    total: Number = 0.0
    for block in model.blocks:
        for op in block.ops:
            if isinstance(op, Attention):
                kept = context if op.window is None or pages_windows else np.minimum(context, op.window)
                total = total + block.repeats * cached_elements(op, tp) * kept
    return total * kv_element_bytes(kv)


def cache_bytes(replica: Replica, context: Number) -> Number:
    """Bytes that one sequence takes on one device of a replica."""
    pages = replica.stack.pages_windows
    whole = sequence_bytes(replica.model, replica.kv, context, tp=replica.tp, pages_windows=pages)
    return whole * replica.imbalance / replica.pp
