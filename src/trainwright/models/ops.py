"""The ops families share, as Hugging Face transformers 5.23 runs them eagerly: kernels, traffic, saved tensors.

Kernel counts and saved tensors were read off the dispatcher (tests/models/test_saved.py and test_kernels.py hold them).
Reads and writes count every access of every eager kernel, in elements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from trainwright.models.shape import Activation, Norm, Shape
from trainwright.models.spec import PER_TOKEN, Attention, Matmul, Op, Pointwise, Saved, SavedDtype, Size, Split


def per_token(elements: float) -> Size:
    """So many elements for each token."""
    return Size(token=float(elements))


def kept(elements: float, dtype: SavedDtype = "compute", split: Split = "none") -> Saved:
    """A tensor of so many elements a token, kept for backward."""
    return Saved(elements=per_token(elements), dtype=dtype, split=split)


def linear(name: str, k: int, n: int, *, bias: bool = False, split: Split = "none", parts: int = 1) -> Matmul:
    """A dense layer k -> n over every token; ``parts`` weights side by side are that many kernels.

    Backward: two products each, a sum for the bias, and adds where gradients of one input meet.
    """
    return Matmul(
        name=name,
        rows=PER_TOKEN,
        k=k,
        n=n,
        n_parameters=k * n + (n if bias else 0),
        saved=(kept(k, split="column" if split == "row" else "none"),),
        split=split,
        n_kernels=parts,
        backward_kernels=parts * (3 if bias else 2) + parts - 1,
    )


def norm(name: str, width: int, kind: Norm, *, bias: bool = True) -> Pointwise:
    """LayerNorm (Ba et al., arXiv:1607.06450) in one kernel, or RMSNorm as written out; ``plus_one`` scales by 1 + w.

    LayerNorm keeps its input, mean and deviation.
    """
    if kind.startswith("rms"):
        return rms_norm(name, width, n_parameters=width, plus_one=kind == "rms_plus_one")
    return Pointwise(
        name=name,
        elements=per_token(width),
        n_parameters=2 * width if bias else width,
        saved=(kept(width, "parameter"), kept(2, "fp32")),
        n_kernels=2 if kind == "layer_plus_one" else 1,
        kernel="layer_norm",
    )


def rms_norm(
    name: str, width: int, *, n_parameters: int, rows: int = 1, plus_one: bool = False, parts: int = 1
) -> Pointwise:
    """RMSNorm (Zhang and Sennrich, arXiv:1910.07467) of ``rows`` vectors a token, ``width`` elements in all, eagerly.

    Squares, averages, adds epsilon, takes the root, scales, and scales by the weight if there is one, in fp32. Keeps
    its input, the root, and for the weight the scaled input.
    """
    has_weight = n_parameters > 0
    heads: Split = "heads" if rows > 1 else "none"
    kernels = (6 if has_weight else 5) + (1 if plus_one else 0)
    saved = (kept(width, "fp32", heads), kept(rows, "fp32", heads))
    return Pointwise(
        name=name,
        elements=per_token(width),
        n_parameters=n_parameters,
        saved=(*saved, kept(width, "fp32" if plus_one else "parameter", heads)) if has_weight else saved,
        split=heads,
        n_kernels=parts * kernels,
        backward_kernels=parts * (14 if has_weight else 11),
        reads=4.0 if has_weight else 3.0,
        writes=3.0 if has_weight else 2.0,
        backward_reads=12.0 if has_weight else 9.0,
        backward_writes=7.0 if has_weight else 5.0,
        upcast=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Nonlinearity:
    """What one activation function costs eagerly: kernels, accesses per element, copies kept (its input included)."""

    n_kernels: int = 1
    backward_kernels: int = 1
    reads: float = 1.0
    writes: float = 1.0
    backward_reads: float = 2.0
    backward_writes: float = 1.0
    transcendental: float = 1.0
    copies: int = 1


_ONE_KERNEL = Nonlinearity()
NONLINEARITIES: dict[Activation, Nonlinearity] = {
    "silu": _ONE_KERNEL,
    "gelu": _ONE_KERNEL,
    "gelu_tanh": _ONE_KERNEL,
    "relu2": Nonlinearity(n_kernels=2, backward_kernels=4, reads=2, writes=2, backward_reads=5, transcendental=0.0),
    "relu": Nonlinearity(transcendental=0.0, copies=0),  # keeps its output, which the next matmul keeps anyway
    "quick_gelu": Nonlinearity(
        n_kernels=3, backward_kernels=5, reads=4, writes=3, backward_reads=9, backward_writes=5, copies=2
    ),
    # 0.5 x (1 + tanh(c (x + 0.044715 x^3))): pow, mul, add, mul, tanh, add, mul, mul
    "gelu_eager": Nonlinearity(
        n_kernels=8, backward_kernels=11, reads=10, writes=8, backward_reads=16, backward_writes=11, copies=4
    ),
    "bloom_gelu": Nonlinearity(
        n_kernels=9, backward_kernels=18, reads=12, writes=9, backward_reads=24, backward_writes=18, copies=1
    ),
}


_MEASURED: dict[Activation, str] = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu"}


def activation(name: str, width: int, kind: Activation, *, gated: bool, split: Split = "column") -> Pointwise:
    """The MLP's nonlinearity, times the other half where the MLP is gated (Shazeer, arXiv:2002.05202).

    A gated one keeps the function's output and the other half besides, since their product needs both.
    """
    cost = NONLINEARITIES[kind]
    copies = cost.copies + (2 if gated else 0) + (1 if gated and kind == "relu" else 0)
    extra = 1 if gated else 0
    return Pointwise(
        name=name,
        elements=per_token(width),
        saved=(kept(copies * width, split=split),) if copies else (),
        split=split,
        n_kernels=cost.n_kernels + extra,
        backward_kernels=cost.backward_kernels + 2 * extra,
        reads=cost.reads + 2 * extra,
        writes=cost.writes + extra,
        backward_reads=cost.backward_reads + 4 * extra,
        backward_writes=cost.backward_writes + 2 * extra,
        transcendental=cost.transcendental,
        kernel=("gated_" if gated and kind in _MEASURED else "") + _MEASURED.get(kind, ""),
    )


def residual(name: str, width: int) -> Pointwise:
    """x + f(x): keeps nothing; backward adds the two gradients that meet there. Autocast widens f(x) first."""
    return Pointwise(
        name=name, elements=per_token(width), reads=2.0, n_kernels=1, backward_kernels=1, backward_reads=2.0, copies=1.0
    )


def dropout(name: str, width: int) -> Pointwise:
    """Dropout in one kernel that keeps a mask of one byte an element (CUDA; the CPU keeps it in the input's dtype)."""
    return Pointwise(name=name, elements=per_token(width), saved=(kept(width, "bool"),), kernel="dropout")


def rotary(name: str, width: int) -> Pointwise:
    """Rotary positions (Su et al., arXiv:2104.09864) on queries and keys, ``width`` elements a token in all.

    x cos + rotate_half(x) sin, for q and for k: neg, cat, mul, mul, add each. Autocast widens both factors, since the
    tables are in 32 bits, and narrows the sum for attention.
    """
    return Pointwise(
        name=name,
        elements=per_token(width),
        split="heads",
        n_kernels=10,
        backward_kernels=16,
        reads=6.0,
        writes=4.5,
        backward_reads=9.0,
        backward_writes=7.0,
        copies=3.0,
        backward_copies=3.0,
    )


def partial_rotary(shape: Shape, width: int) -> Pointwise:
    """Rotates ``rotary_dim`` of each head and puts it back beside the rest, one more copy of q and of k."""
    share = (shape.rotary_dim or shape.dim) / shape.dim
    whole = rotary("rotary", width)
    return replace(
        whole,
        n_kernels=whole.n_kernels + 2,
        backward_kernels=whole.backward_kernels + 4,
        reads=whole.reads * share + 1.0,
        writes=whole.writes * share + 1.0,
        backward_reads=whole.backward_reads * share + 2.0,
        backward_writes=whole.backward_writes * share + 2.0,
    )


def rotary_tables(dim: int) -> Pointwise:
    """Cosines and sines of every position, made once a forward and kept, shared by all samples and layers."""
    return Pointwise(
        name="rotary_tables",
        elements=Size(position=2.0 * dim),
        saved=(Saved(elements=Size(position=2.0 * dim), dtype="parameter"),),
        n_kernels=7,
        backward_kernels=0,
        backward_reads=0.0,
        backward_writes=0.0,
        transcendental=1.0,
    )


def positions() -> Pointwise:
    """Position numbers, and the check whether several texts are packed in one sequence; once a forward."""
    return Pointwise(
        name="positions",
        elements=Size(position=1.0),
        n_kernels=9,
        backward_kernels=0,
        backward_reads=0.0,
        backward_writes=0.0,
    )


def self_attention(shape: Shape, window: int | None = None) -> Attention:
    """Scaled dot-product attention in one flash kernel (Dao, arXiv:2307.08691): keeps q, k, v and log-sum-exp.

    Its output, kept too, is declared by the next matmul, whose input it is. Rotation copies q and k; where one matmul
    made all three, v then holds on to what it shared with them.
    """
    width = shape.dim * (shape.heads + 2 * shape.n_kv_heads)
    if shape.fused_qkv and shape.positions == "rotary":
        width += shape.dim * (shape.heads + shape.n_kv_heads)
    return Attention(
        name="attention",
        n_heads=shape.heads,
        n_kv_heads=shape.n_kv_heads,
        qk_dim=shape.dim,
        v_dim=shape.dim,
        causal=shape.causal,
        window=window,
        saved=(kept(width, split="heads"), kept(shape.heads, "fp32", "heads")),
        split="heads",
    )


def attention_ops(shape: Shape, window: int | None = None) -> tuple[Op, ...]:
    """From the normed input to the output projection."""
    q, kv = shape.heads * shape.dim, shape.n_kv_heads * shape.dim
    parts = 1 if shape.fused_qkv else 3
    qkv = linear("qkv", shape.hidden, q + 2 * kv, bias=shape.qkv_bias, split="column", parts=parts)
    if shape.fused_qkv:  # backward puts three gradients together
        qkv = replace(qkv, backward_kernels=qkv.backward_kernels + 1)
    ops: list[Op] = [qkv]
    if shape.qk_norm:
        ops += [head_norm(shape)]
    if shape.positions == "rotary":
        ops += [partial_rotary(shape, q + kv) if shape.rotary_dim else rotary("rotary", q + kv)]
    ops += [self_attention(shape, window)]
    ops += [linear("attention_out", q, shape.hidden, bias=shape.out_bias, split="row")]
    if shape.dropout:
        ops += [dropout("attention_dropout", shape.hidden)]
    return tuple(ops)


def head_norm(shape: Shape) -> Pointwise:
    """RMSNorm of every query and key head, a weight for queries and one for keys (Qwen 3) or none (Llama 4)."""
    heads = shape.heads + shape.n_kv_heads
    return rms_norm(
        "qk_norm",
        heads * shape.dim,
        n_parameters=2 * shape.dim if shape.qk_norm == "weighted" else 0,
        rows=heads,
        plus_one=shape.norm == "rms_plus_one",
        parts=2,
    )


def mlp_ops(shape: Shape, width: int) -> tuple[Op, ...]:
    """From the normed input to the second projection; a gated MLP multiplies two weights first."""
    parts = 2 if shape.gated and not shape.fused_gate else 1
    n = 2 * width if shape.gated else width
    ops: list[Op] = [
        linear("mlp_in", shape.hidden, n, bias=shape.mlp_bias, split="column", parts=parts),
        activation("activation", width, shape.activation, gated=shape.gated),
        linear("mlp_out", width, shape.hidden, bias=shape.mlp_bias, split="row"),
    ]
    if shape.dropout:
        ops += [dropout("mlp_dropout", shape.hidden)]
    return tuple(ops)
