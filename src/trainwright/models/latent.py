"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1): queries and keys through low ranks."""

from __future__ import annotations

from dataclasses import replace

from trainwright.models.ops import kept, linear, per_token, rms_norm, rotary
from trainwright.models.shape import Shape
from trainwright.models.spec import Attention, Op, Pointwise, Saved


def latent_attention_ops(shape: Shape, kv_rank: int) -> tuple[Op, ...]:
    """From the normed input to the output projection. What is cached a token is kv_rank + rope_dim wide.

    Keys and values are expanded for training; nothing is absorbed into other weights as it may be for inference.
    """
    nope, rope, v_dim = shape.nope_dim or 0, shape.rope_dim or 0, shape.v_dim or 0
    hidden, heads = shape.hidden, shape.heads
    qk_dim = nope + rope
    ops: list[Op] = []
    if shape.q_rank is None:
        ops += [linear("q_up", hidden, heads * qk_dim, split="column")]
    else:
        ops += [
            linear("q_down", hidden, shape.q_rank, bias=shape.qkv_bias),
            rms_norm("q_norm", shape.q_rank, n_parameters=shape.q_rank),
            linear("q_up", shape.q_rank, heads * qk_dim, split="column"),
        ]
    ops += [
        replace(linear("kv_down", hidden, kv_rank + rope, bias=shape.qkv_bias), saved=()),  # the input q_down keeps
        replace(rms_norm("kv_norm", kv_rank, n_parameters=kv_rank), saved=_kept_by_kv_norm(kv_rank, rope)),
        linear("kv_up", kv_rank, heads * (nope + v_dim), split="column"),
        rotary("rotary", (heads + 1) * rope),
        expand(heads * qk_dim),
        Attention(
            name="attention",
            n_heads=heads,
            n_kv_heads=heads,
            qk_dim=qk_dim,
            v_dim=v_dim,
            causal=shape.causal,
            cached=kv_rank + rope,
            saved=(kept(heads * (2 * qk_dim + nope + v_dim), split="heads"), kept(heads, "fp32", "heads")),
            split="heads",
        ),
        linear("attention_out", heads * v_dim, hidden, bias=shape.out_bias, split="row"),
    ]
    return tuple(ops)


def _kept_by_kv_norm(kv_rank: int, rope: int) -> tuple[Saved, ...]:
    return (kept(kv_rank + rope, "fp32"), kept(1, "fp32"), kept(kv_rank, "parameter"))


def expand(width: int) -> Pointwise:
    """Queries, and keys with the one rotated part all heads share, put together: a concatenation and two copies."""
    return Pointwise(
        name="expand",
        elements=per_token(2 * width),
        split="heads",
        n_kernels=3,
        backward_kernels=6,
        backward_reads=1.0,
    )
