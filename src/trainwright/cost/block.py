"""What one repeat of a block costs one device for one micro-batch: kernel seconds, FLOP, kernels, bytes to exchange.

Everything here works on arrays: a ``Shard`` of arrays is a table of shapes, and the answer a table of costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from operator import attrgetter

import numpy as np

from trainwright.cost.attention import (
    AttentionShape,
    cast_attention_s,
    fused_attention_s,
    plain_attention_s,
    written_out_s,
)
from trainwright.cost.beside import bias_s, has_bias, narrowed_s, widened_s
from trainwright.cost.convolution import Operands, passes
from trainwright.cost.elementwise import cast_s, elementwise_s
from trainwright.cost.fusion import fused, in_passes, is_scattered
from trainwright.cost.kernels import kernel_s, measured_product
from trainwright.cost.loops import loops, nearer_s, round_elements
from trainwright.cost.matmul import Product
from trainwright.cost.numbers import larger
from trainwright.cost.pointwise import stream_s
from trainwright.cost.rows import again_s, is_row_norm, layer_norm_s
from trainwright.cost.shard import Arithmetic, Shard
from trainwright.models.spec import Attention, Block, CrossEntropy, Lookup, Matmul, Op, Pointwise
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCost:
    """One repeat, one micro-batch, one device.

    ``*_s``: kernel seconds, of products (``forward_s``, ``backward_s``), of attention (``attention_*``) and of what
    memory limits (``*_stream_s``); ``core_s``: the part of forward that selective recomputation repeats.
    ``*_kernels``: those that the host issues. ``tp_*``: bytes of activations reduced over tp and how often, in forward
    (backward does as many and as much). ``ep_bytes``: what one all-to-all moves (``ep_token_bytes``: were each token
    sent to one expert only); ``ep_calls``: how many in forward.
    ``cp_bytes``: keys and values of this device's tokens. ``norm_bytes``: statistics of its own rows that a batch norm
    over all replicas sends, in so many ``norm_calls``, forward (as many and as much backward).
    ``parameters`` and ``expert_parameters``: per device, over tp (and ep); ``trainable``: those with gradients, in so
    many ``tensors``.
    """

    forward_s: Number = 0.0
    backward_s: Number = 0.0
    forward_stream_s: Number = 0.0
    backward_stream_s: Number = 0.0
    core_s: Number = 0.0
    attention_forward_s: Number = 0.0
    attention_backward_s: Number = 0.0
    flop: Number = 0.0
    backward_flop: Number = 0.0
    core_flop: Number = 0.0
    forward_kernels: Number = 0.0
    backward_kernels: Number = 0.0
    tp_bytes: Number = 0.0
    tp_calls: Number = 0.0
    ep_bytes: Number = 0.0
    ep_token_bytes: Number = 0.0
    ep_calls: Number = 0.0
    cp_bytes: Number = 0.0
    norm_bytes: Number = 0.0
    norm_calls: Number = 0.0
    parameters: Number = 0.0
    expert_parameters: Number = 0.0
    trainable: Number = 0.0
    tensors: Number = 0.0

    def times(self, count: Number) -> BlockCost:
        """So many repeats."""
        if isinstance(count, float) and count == 1.0:
            return self
        return _block_cost(figure * count for figure in _FIGURES(self))


_NAMES = tuple(field.name for field in fields(BlockCost))
_FIGURES = attrgetter(*_NAMES)


def block_cost(block: Block, shard: Shard, how: Arithmetic) -> BlockCost:
    """The cost of one repeat of a block: its ops, one after another."""
    how = how.within(block)
    costs = [_COST[type(op)](op, shard, how) for op in block.ops]
    if how.device.efficiency.near_points and loops(block):
        costs = _nearer(block, costs, shard, how)
    if how.casts:
        costs += [_casts(op, shard, how) for op in block.ops]
    return added([*costs, _parameters(block, shard, how)])


def _nearer(block: Block, costs: list[BlockCost], shard: Shard, how: Arithmetic) -> list[BlockCost]:
    near_bytes = round_elements(block, shard.batch, shard.local_seq) * how.base_bytes

    def nearer(op: Op, cost: BlockCost) -> BlockCost:
        if not isinstance(op, Pointwise):
            return cost
        touched = _elements(op, shard) * how.base_bytes
        ahead, back = touched * (op.reads + op.writes), touched * (op.backward_reads + op.backward_writes)
        return replace(
            cost,
            forward_stream_s=nearer_s(cost.forward_stream_s, ahead, op.n_kernels, near_bytes, how.device),
            backward_stream_s=nearer_s(cost.backward_stream_s, back, op.backward_kernels, near_bytes, how.device),
        )

    return [nearer(op, cost) for op, cost in zip(block.ops, costs, strict=True)]


def added(costs: Iterable[BlockCost]) -> BlockCost:
    """All of them, one after the other."""
    every = tuple(costs)
    if len(every) < 2:
        return every[0] if every else BlockCost()
    return _block_cost(map(sum, zip(*map(_FIGURES, every), strict=True)))


def _block_cost(figures: Iterable[Number]) -> BlockCost:
    return BlockCost(**dict(zip(_NAMES, figures, strict=True)))


def _casts(op: Op, shard: Shard, how: Arithmetic) -> BlockCost:
    """What autocast adds: copies of what is in fp32, 4 bytes read and 2 written (or the reverse, backward).

    Weights: forward, and their gradients backward. Inputs that come from a norm, once for each weight that reads them,
    and their gradients; the gradients of outputs that join the residual stream. Logits, for the loss.
    """
    if isinstance(op, Pointwise):  # a GPU's kernels take operands of several kinds
        if how.device.kind != "cpu" or not (op.copies or op.backward_copies):
            return BlockCost()
        elements = _elements(op, shard)
        return BlockCost(
            forward_stream_s=op.copies * cast_s(elements, how.device),
            backward_stream_s=op.backward_copies * cast_s(elements, how.device, backward=True),
            forward_kernels=op.copies,
            backward_kernels=op.backward_copies,
        )
    if isinstance(op, CrossEntropy):
        elements = op.rows.at(shard.batch, shard.local_seq) * op.n_classes
        elements = elements / (shard.tp if op.split == "vocabulary" else 1.0)
        return BlockCost(  # forward they are widened, backward their gradient is narrowed
            forward_stream_s=cast_s(elements, how.device, backward=True),
            backward_stream_s=cast_s(elements, how.device),
            forward_kernels=1.0,
            backward_kernels=1.0,
        )
    if not isinstance(op, Matmul) or not op.n_parameters:
        return BlockCost()
    product = local_product(op, op.rows.at(shard.batch, shard.local_seq), shard)
    n_weights = float(op.n_kernels)
    weight = product.n * product.k * product.count / n_weights
    weights, gradients = n_weights * cast_s(weight, how.device), n_weights * cast_s(weight, how.device, backward=True)
    if op.is_convolution:  # what flows between convolutions is in 16 bits already
        return BlockCost(
            forward_stream_s=weights, backward_stream_s=gradients, forward_kernels=1.0, backward_kernels=1.0
        )
    if op.split == "row":
        outputs = cast_s(product.m * product.n, how.device)
        return BlockCost(
            forward_stream_s=weights, backward_stream_s=gradients + outputs, forward_kernels=1.0, backward_kernels=2.0
        )
    inputs, kernels = product.m * product.k * product.count, 2.0 * n_weights
    return BlockCost(
        forward_stream_s=weights + n_weights * cast_s(inputs, how.device),
        backward_stream_s=gradients + n_weights * cast_s(inputs, how.device, backward=True),
        forward_kernels=kernels, backward_kernels=kernels,
    )  # fmt: skip


def _parameters(block: Block, shard: Shard, how: Arithmetic) -> BlockCost:
    """What the ops of a block hold and train, on one device."""
    dense: Number = 0.0
    experts: Number = 0.0
    trainable: Number = 0.0
    tensors = 0
    for op in block.ops:
        if not op.n_parameters:
            continue
        held: Number = float(op.n_parameters)
        if op.split == "expert":
            held = held / (shard.ep * shard.tp)
            experts = experts + held
        else:
            held = held / (shard.tp if op.split != "none" else 1.0)
            dense = dense + held
        if op.trainable and not how.lora:
            trainable, tensors = trainable + held, tensors + n_tensors(op)
    return BlockCost(parameters=dense, expert_parameters=experts, trainable=trainable, tensors=float(tensors))


def n_tensors(op: Op) -> int:
    """How many tensors the parameters of an op are, as far as it tells: weights, and a bias for each.

    >>> from trainwright.models.ops import linear
    >>> n_tensors(linear("q", 8, 8)), n_tensors(linear("qkv", 8, 24, bias=True, parts=3))
    (1, 6)
    """
    if not isinstance(op, Matmul):
        return 2 if isinstance(op, Pointwise) else 1
    parts = op.n_kernels if op.count == 1 else 1
    return max(parts, 1) * (2 if has_bias(op) else 1)


def _matmul(op: Matmul, shard: Shard, how: Arithmetic) -> BlockCost:
    """2 rows n k forward; the same for the input's gradient and again for the weight's."""
    rows = op.rows.at(shard.batch, shard.local_seq)
    product = local_product(op, rows, shard)
    dtype = how.base if op.split in ("vocabulary", "none") or op.is_convolution else how.low
    inputs = product.m * product.k * product.count
    if op.input is not None:
        inputs = op.input.at(shard.batch, shard.local_seq)
    of = Operands(
        dtype=dtype,
        inputs=inputs,
        channels_last=how.stack.channels_last,
        is_plain=how.stack.convolution == "product",
    )
    each = measured_product(op, product, inputs, dtype, how.device) or passes(op, product, of, how.device)
    backward_s: Number = 0.0
    backward_flop: Number = 0.0
    wants_weights = op.trainable and not (how.lora and op.n_parameters > 0)
    for part_s, wanted in ((each.input_gradient_s, not op.frozen_input), (each.weight_gradient_s, wants_weights)):
        if wanted:
            backward_s = backward_s + part_s
            backward_flop = backward_flop + product.flop
    cast_s, gradient_cast_s = narrowed_s(op, product, how) if dtype != how.base else (0.0, 0.0)
    bias = bias_s(op, product, how) if has_bias(op) else (0.0, 0.0)
    wide_s = widened_s(op, product, how) if how.four_bits else 0.0
    return BlockCost(
        forward_s=each.forward_s + wide_s,
        backward_s=backward_s + wide_s,
        forward_stream_s=cast_s + bias[0],
        backward_stream_s=gradient_cast_s + (bias[1] if wants_weights else 0.0),
        flop=product.flop,
        backward_flop=backward_flop,
        forward_kernels=op.n_kernels,
        backward_kernels=op.backward_kernels,
        **_matmul_traffic(op, rows, shard, how),
    )


def local_product(op: Matmul, rows: Number, shard: Shard) -> Product:
    """The product that one device does. Of experts only those some token chose are read: all but in small batches."""
    if op.n_experts > 1:
        idle = (1.0 - op.experts_per_token / op.n_experts) ** (rows * shard.ep)
        chosen = op.n_experts * (1.0 - idle)
        per_expert = rows * op.experts_per_token * shard.ep / (chosen * shard.tp)
        return Product(m=per_expert, n=op.n, k=op.k, count=chosen / shard.ep * op.count)
    if op.split in ("column", "heads", "vocabulary"):
        return Product(m=rows, n=op.n / shard.tp, k=op.k, count=op.count)
    if op.split == "row":
        return Product(m=rows, n=op.n, k=op.k / shard.tp, count=op.count)
    return Product(m=rows / shard.tokens_split, n=op.n, k=op.k, count=op.count)


def _matmul_traffic(op: Matmul, rows: Number, shard: Shard, how: Arithmetic) -> dict[str, Number]:
    """Row-split outputs (and the head's input gradient) are reduced over tp; expert inputs travel over ep.

    Forward in the compute dtype, backward in that of the residual stream: the mean of both, since each goes once.
    """
    if op.split == "row":
        return {"tp_bytes": rows * op.n * 0.5 * (how.base_bytes + how.wide_bytes), "tp_calls": 1.0}
    if op.split == "vocabulary":
        return {"tp_bytes": 0.5 * rows * op.k * how.wide_bytes, "tp_calls": 0.5}
    if op.split == "expert" and op.n_experts > 1:
        width = op.k if op.name.endswith("_in") else op.n
        tokens = 0.5 * rows * width * how.base_bytes / shard.tp
        return {"ep_bytes": tokens * op.experts_per_token, "ep_token_bytes": tokens, "ep_calls": 0.5}
    return {}


def _attention(op: Attention, shard: Shard, how: Arithmetic) -> BlockCost:
    """Scores and weighted sum. Context parallel cuts the queries; every query still meets every key."""
    shape = AttentionShape(
        batch=shard.batch,
        queries=op.queries.at(1.0, shard.local_seq),
        keys=op.keys.at(1.0, shard.seq),
        n_heads=op.n_heads / shard.tp,
        n_kv_heads=larger(op.n_kv_heads / shard.tp, 1.0),
        qk_dim=op.qk_dim,
        v_dim=op.v_dim,
        causal=op.causal and how.stack.causal_skip,
        window=op.window,
    )
    flash = how.stack.attention == "flash"
    kernel = fused_attention_s if flash else cast_attention_s if how.casts else plain_attention_s
    forward_s = kernel(shape, how.base, how.device)
    backward_s = kernel(shape, how.base, how.device, backward=True)
    if how.by_kernel and not flash:
        pair_bytes = 4.0 if how.casts else how.base_bytes
        forward_s = forward_s + again_s(shape.batch * shape.n_heads * shape.queries, shape.keys, pair_bytes, how.device)
    forward_kernels: Number = op.n_kernels if flash else op.n_kernels + 4.0
    backward_kernels: Number = op.backward_kernels * (1.0 if flash else 5.0)
    if not flash and how.stack.softmax_multiple > 1.0:
        apart = shape.batch * shape.n_heads % how.stack.softmax_multiple > 0
        forward_s = forward_s + written_out_s(shape, how.device) * apart
        backward_s = backward_s + written_out_s(shape, how.device, backward=True) * apart
        forward_kernels, backward_kernels = forward_kernels + 4.0 * apart, backward_kernels + 4.0 * apart
    kv = shape.batch * op.keys.at(1.0, shard.local_seq) * shape.n_kv_heads * (op.qk_dim + op.v_dim)
    return BlockCost(
        attention_forward_s=forward_s,
        attention_backward_s=backward_s,
        core_s=0.0 if flash else forward_s,
        flop=shape.flop,
        backward_flop=2.0 * shape.flop,
        core_flop=0.0 if flash else shape.flop,
        forward_kernels=forward_kernels,
        backward_kernels=backward_kernels,
        cp_bytes=kv * how.base_bytes,
    )


def _pointwise(op: Pointwise, shard: Shard, how: Arithmetic) -> BlockCost:
    """Bytes read and written, forward and backward; each kernel takes at least its launch."""
    elements, traffic = _elements(op, shard), how.stack.pointwise_traffic
    if how.stack.fused:
        op = fused(op)
    elif how.by_kernel:
        traffic = traffic / how.device.efficiency.reduction if is_scattered(op) else traffic
        op = in_passes(op)
    between_products = any(saved.dtype == "compute" for saved in op.saved)
    each_bytes = 4.0 if op.upcast else how.base_bytes if between_products else how.wide_bytes
    forward_s, backward_s = elementwise_s(op, elements, each_bytes, traffic, how.device)
    if how.by_kernel and is_row_norm(op, how.device):
        width = 0.5 * op.n_parameters
        forward_s = layer_norm_s(elements / width, width, each_bytes, how.device)
    joined = how.stack.joins_norms and op.kernel == "batch_norm" and op.trainable
    return BlockCost(
        norm_bytes=4.0 * op.n_parameters if joined else 0.0,
        norm_calls=1.0 if joined else 0.0,
        forward_stream_s=forward_s,
        backward_stream_s=backward_s,
        forward_kernels=float(op.n_kernels),
        backward_kernels=float(op.backward_kernels),
    )


def _elements(op: Pointwise, shard: Shard) -> Number:
    elements = op.elements.at(shard.batch, shard.local_seq)
    return elements / (shard.tokens_split if op.split == "none" else shard.tp)


def _lookup(op: Lookup, shard: Shard, how: Arithmetic) -> BlockCost:
    """Rows copied out forward; their gradients scattered back (twice the bytes, in fp32 at worst).

    Where it was measured: by its own rate, and the rest of the table's gradient is zeroed.
    """
    rows = op.rows.at(shard.batch, shard.local_seq)
    copied = rows * op.width * how.wide_bytes
    split = op.split == "vocabulary"
    forward_s, backward_s = stream_s(2.0 * copied, how.device), stream_s(4.0 * copied, how.device)
    if "embedding" in how.device.efficiency.kernels:
        zeroed = np.maximum(op.n_entries - rows, 0.0) * op.width * 4.0 * (op.n_parameters > 0 and op.trainable)
        forward_s = kernel_s("embedding", rows * op.width, how.device)
        backward_s = kernel_s("embedding", rows * op.width, how.device, backward=True) + stream_s(zeroed, how.device)
    return BlockCost(
        forward_stream_s=forward_s,
        backward_stream_s=backward_s,
        forward_kernels=op.n_kernels,
        backward_kernels=op.backward_kernels,
        tp_bytes=0.5 * copied if split else 0.0,
        tp_calls=0.5 if split else 0.0,
    )


def _cross_entropy(op: CrossEntropy, shard: Shard, how: Arithmetic) -> BlockCost:
    """Passes over the logits, two thirds of them forward: cast, maximum, exponent, sum, division."""
    elements = op.rows.at(shard.batch, shard.local_seq) * op.n_classes
    elements = elements / (shard.tp if op.split == "vocabulary" else shard.tokens_split)
    passed = elements * how.stack.logits_bytes * how.stack.loss_passes / 3.0
    forward_s, backward_s = stream_s(2.0 * passed, how.device, transcendental=elements), stream_s(passed, how.device)
    if "cross_entropy" in how.device.efficiency.kernels:
        forward_s = kernel_s("cross_entropy", elements, how.device)
        backward_s = kernel_s("cross_entropy", elements, how.device, backward=True)
    is_split = op.split == "vocabulary"  # then forward reduces the largest logit, and the sum with the wanted one
    return BlockCost(
        tp_bytes=6.0 * op.rows.at(shard.batch, shard.local_seq) if is_split else 0.0,
        tp_calls=1.0 if is_split else 0.0,
        forward_stream_s=forward_s,
        backward_stream_s=backward_s,
        forward_kernels=op.n_kernels,
        backward_kernels=op.backward_kernels,
    )


_COST: dict[type[Op], Callable[..., BlockCost]] = {
    Matmul: _matmul,
    Attention: _attention,
    Pointwise: _pointwise,
    Lookup: _lookup,
    CrossEntropy: _cross_entropy,
}
