"""A mixture of experts in place of an MLP (Shazeer et al., arXiv:1701.06538; Jiang et al., arXiv:2401.04088).

As transformers runs it with grouped products: tokens are sorted by expert, gathered, multiplied group by group,
weighted, and put back. Load is taken as even; a skewed router only changes which device waits.
"""

from __future__ import annotations

from dataclasses import replace

from trainwright.models.ops import activation, kept, linear, per_token
from trainwright.models.shape import Shape
from trainwright.models.spec import Matmul, Op, Pointwise


def mixture_ops(shape: Shape, n_experts: int) -> tuple[Op, ...]:
    """Router, dispatch, the two expert products, combine, and the shared expert where there is one."""
    width = shape.expert_ffn or shape.width
    passes = shape.experts_per_token
    ops: list[Op] = [
        router(shape.hidden, n_experts, passes),
        dispatch(shape.hidden, passes),
        expert_product(shape, "experts_in", shape.hidden, 2 * width if shape.gated else width),
        activation("experts_activation", passes * width, shape.activation, gated=shape.gated, split="expert"),
        expert_product(shape, "experts_out", width, shape.hidden),
        combine(shape.hidden, passes),
    ]
    return (*ops, *shared_ops(shape, shape.shared_ffn)) if shape.shared_ffn else tuple(ops)


def router(hidden: int, n_experts: int, passes: int) -> Matmul:
    """Logits, softmax in fp32, top k, weights scaled to one; keeps its input, the probabilities and the choice."""
    product = linear("router", hidden, n_experts)
    return replace(
        product,
        saved=(*product.saved, kept(n_experts + passes + 1, "fp32"), kept(passes, "int64")),
        n_kernels=6,
        backward_kernels=13,
    )


def dispatch(hidden: int, passes: int) -> Pointwise:
    """Tokens sorted by expert and gathered, ``passes`` copies of each; the copy is kept as the product's input."""
    return Pointwise(
        name="dispatch",
        elements=per_token(passes * hidden),
        saved=(kept(2 * passes, "int64"), kept(passes, "compute")),
        n_kernels=7,
        backward_kernels=5,
        backward_reads=1.0,
    )


def expert_product(shape: Shape, name: str, k: int, n: int) -> Matmul:
    """One grouped product: every token through ``experts_per_token`` of the experts' weights."""
    n_experts = shape.experts or 1
    return Matmul(
        name=name,
        rows=per_token(1),
        k=k,
        n=n,
        n_experts=n_experts,
        experts_per_token=shape.experts_per_token,
        n_parameters=n_experts * k * n,
        saved=(kept(shape.experts_per_token * k, split="expert"),),
        split="expert",
        n_kernels=1,
        backward_kernels=2,
    )


def combine(hidden: int, passes: int) -> Pointwise:
    """Outputs times the router's weights, back in the tokens' order, summed; keeps the outputs for the weights."""
    return Pointwise(
        name="combine",
        elements=per_token(passes * hidden),
        saved=(kept(passes * hidden), kept(passes, "int64")),
        n_kernels=5,
        backward_kernels=6,
        reads=3.0,
        writes=2.0,
        backward_reads=4.0,
        backward_writes=3.0,
    )


def shared_ops(shape: Shape, width: int) -> tuple[Op, ...]:
    """The expert all tokens pass, and its gate where the family has one; its input is kept by the router already."""
    hidden, parts = shape.hidden, 2 if shape.gated else 1
    ops: list[Op] = [
        replace(linear("shared_in", hidden, parts * width, split="column", parts=parts), saved=()),
        activation("shared_activation", width, shape.activation, gated=shape.gated),
        linear("shared_out", width, hidden, split="row"),
    ]
    if shape.shared_gate:
        ops += [replace(linear("shared_gate", hidden, 1), saved=()), gate_product(hidden)]
    return (*ops, Pointwise(name="shared_add", elements=per_token(hidden), reads=2.0))


def gate_product(hidden: int) -> Pointwise:
    """sigmoid(gate) times the shared expert's output; keeps both."""
    return Pointwise(
        name="shared_scale",
        elements=per_token(hidden),
        saved=(kept(hidden), kept(1)),
        n_kernels=2,
        backward_kernels=4,
        reads=1.0,
    )
