"""One pass of a replica over prompts and decoding sequences: what it is made of, in seconds, by training's op formulas.

The same block costs are asked twice, of the device with endless bandwidth (arithmetic) and for the bytes moved, since
serving scales the two apart: a decode reads weights, a prompt multiplies.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from trainwright.cost.attention import AttentionShape, measured_attention_s
from trainwright.cost.block import BlockCost, block_cost, local_product
from trainwright.cost.matmul import Product, matmul_s, peak_flop_per_s
from trainwright.cost.network import Span, collective_s, span
from trainwright.cost.pointwise import stream_bytes_per_s
from trainwright.cost.serving.cache import cached_elements, kv_element_bytes
from trainwright.cost.serving.replica import Replica
from trainwright.cost.shard import Arithmetic, Shard
from trainwright.cost.stack import Stack
from trainwright.hardware.device import DTYPE_BYTES, Device
from trainwright.models.spec import Attention, Block, CrossEntropy, Lookup, Matmul, Pointwise
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one pass works on in the whole replica: so many prompts of a length, and sequences at a mean context.

    ``heads``: positions whose logits are wanted (None: one for each prompt and sequence). Counts may be arrays.
    """

    prompts: Number = 0.0
    prompt_tokens: Number = 1.0
    sequences: Number = 0.0
    context: Number = 1.0
    heads: Number | None = None

    @property
    def tokens(self) -> Number:
        """Positions computed."""
        return self.prompts * self.prompt_tokens + self.sequences

    @property
    def wanted(self) -> Number:
        """Positions whose logits are computed."""
        return self.prompts + self.sequences if self.heads is None else self.heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Seconds of one pass by kind, before corrections; ``flop``: what is multiplied on one device.

    ``products`` and ``traffic`` (weights read) of the layers' products run at once, so the slower counts; so do those
    of experts, of the head, and ``attention`` (arithmetic) with ``cache`` (keys and values read).
    ``stream``: norms, activations, copies. ``kernels``: starting them. ``step``, ``sequences``: the host's, once a pass
    and for each sequence. ``from_graph``: 1 where kernels are replayed, 0 where the host issues them beside the device.
    """

    products: Number = 0.0
    traffic: Number = 0.0
    expert_products: Number = 0.0
    expert_traffic: Number = 0.0
    head_products: Number = 0.0
    head_traffic: Number = 0.0
    attention: Number = 0.0
    cache: Number = 0.0
    stream: Number = 0.0
    kernels: Number = 0.0
    collectives: Number = 0.0
    step: Number = 0.0
    sequences: Number = 0.0
    from_graph: Number = 1.0
    flop: Number = 0.0

    def plus(self, other: Pass) -> Pass:
        """Both; ``from_graph`` is this one's."""
        summed = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Pass(**{**summed, "from_graph": self.from_graph})

    def times(self, count: float) -> Pass:
        """So many repeats."""
        scaled = {f.name: getattr(self, f.name) * count for f in fields(self)}
        return Pass(**{**scaled, "from_graph": self.from_graph})


def forward(replica: Replica, work: Work) -> Pass:
    """One pass through every layer, stage after stage, of what one of the replica's ``ep`` groups works on.

    Ignores what overlaps between kernels, and gaps between ranks that finish at different times.
    """
    in_turn = replica.stack.graphs or replica.device.kind == "cpu"  # a CPU issues and works by itself
    total = Pass(from_graph=1.0 if in_turn else 0.0)
    for block in replica.model.blocks:
        total = total.plus(_block(replica, block, work).times(block.repeats))
    n_sequences = work.prompts + work.sequences
    return total.plus(
        Pass(
            collectives=_sends(replica, work),
            step=replica.stack.step_s + 0.0 * np.asarray(n_sequences),
            sequences=replica.stack.sequence_s * n_sequences,
        )
    )


def _block(replica: Replica, block: Block, work: Work) -> Pass:
    """One repeat of a block: its products, its attention, its collectives, and what lies between."""
    tokens = work.tokens
    if any(isinstance(op, CrossEntropy) for op in block.ops):
        return _head(replica, block, work)
    shard = Shard(batch=tokens, seq=1.0, tp=float(replica.tp), ep=float(replica.ep))
    total = Pass(collectives=_exchanged(replica, block, tokens))
    for op in block.ops:
        if isinstance(op, Attention):
            total = total.plus(_attention(replica, op, work))
        elif isinstance(op, Matmul):
            total = total.plus(_matmul(replica, op, shard))
        elif isinstance(op, Pointwise | Lookup):
            total = total.plus(_stream(replica, block, op, shard))
    return total


def _head(replica: Replica, block: Block, work: Work) -> Pass:
    """The last norm and the logits of the wanted positions, and picking the next token: two passes over the logits."""
    wanted = np.maximum(work.wanted, 1e-9)
    is_read = np.asarray(work.wanted) > 0
    shard = Shard(batch=wanted, seq=1.0, tp=float(replica.tp))
    total, width = Pass(), 0.0
    for op in block.ops:
        if isinstance(op, Matmul):
            one = _matmul(replica, op, shard)
            read = {"head_products": one.products * is_read, "head_traffic": one.traffic * is_read}
            total = total.plus(Pass(**read, kernels=one.kernels, flop=one.flop))
            width = op.n
        elif isinstance(op, Pointwise):
            total = total.plus(_stream(replica, block, op, shard))
    logits = wanted * width * DTYPE_BYTES[replica.base]
    gathered = collective_s("all_gather", logits, _span(replica, float(replica.tp))) if replica.tp > 1 else 0.0
    picked = 4.0 * logits / replica.tp / stream_bytes_per_s(replica.device, np.maximum(logits, 1.0))
    return total.plus(Pass(stream=picked, kernels=2.0 * replica.kernel_s, collectives=gathered))


def _matmul(replica: Replica, op: Matmul, shard: Shard) -> Pass:
    """Arithmetic by matmul_s, bytes by what is stored: weights in their format, activations in 16 bits (or 32)."""
    stored, device, is_end = replica.stored, replica.device, op.split == "vocabulary"
    product = _whole_experts(op, local_product(op, op.rows.at(shard.batch, 1.0), shard), shard.tp)
    dtype = replica.base if op.split in ("vocabulary", "none") else replica.dtype
    read = product.m * product.k * product.count
    weights = product.k * product.n * product.count * (stored.end_bits if is_end else stored.bits) / 8.0
    moved = weights + (read + product.m * product.n * product.count) * stored.wide
    seconds = moved / stream_bytes_per_s(device, np.maximum(moved, 1.0))
    narrowed = 0.0 if dtype == replica.base else 4.0 * read / stream_bytes_per_s(device, np.maximum(4.0 * read, 1.0))
    n_kernels = 1.0 if replica.stack.fused else float(op.n_kernels)
    named = ("expert_products", "expert_traffic") if op.n_experts > 1 else ("products", "traffic")
    found: dict[str, Number] = {named[0]: _arithmetic_s(product, dtype, device), named[1]: seconds}
    return Pass(**found, stream=narrowed, kernels=n_kernels * replica.kernel_s, flop=product.flop)


VECTOR_SHARE = 0.8
"""Share of the plain cores' peak that products of a few rows reach there."""


def _arithmetic_s(product: Product, dtype: str, device: Device) -> Number:
    """Arithmetic of a product, memory apart: in tiles of the matrix units, or row by row on the plain cores.

    A tile is 32 rows at least, so a few rows waste it; then a matrix-vector kernel on the plain cores is faster, as
    llama.cpp and FasterTransformer have them.
    """
    tiled = matmul_s(product, dtype, _endless(device))
    plain = device.flop_per_s.get("fp32")
    return tiled if plain is None or device.kind == "cpu" else np.minimum(tiled, product.flop / (VECTOR_SHARE * plain))


def _whole_experts(op: Matmul, product: Product, tp: Number) -> Product:
    """An expert's product cut over tp by its columns going in and by its rows coming out, as engines do."""
    if op.n_experts == 1:
        return product
    if op.name.endswith("_out"):
        return replace(product, m=product.m * tp, k=product.k / tp)
    return replace(product, m=product.m * tp, n=product.n / tp)


def _stream(replica: Replica, block: Block, op: Pointwise | Lookup, shard: Shard) -> Pass:
    """What memory limits, with the starting of its kernels counted apart."""
    cost: BlockCost = block_cost(_only(op), shard, _arithmetic(replica, replace(replica.device, launch_s=0.0)))
    return Pass(stream=cost.forward_stream_s, kernels=cost.forward_kernels * replica.kernel_s)


def _attention(replica: Replica, op: Attention, work: Work) -> Pass:
    """Prompts against themselves, sequences against their cache, each kernel reading keys and values once.

    Decoding with latent attention multiplies with the cache as it is kept (DeepSeek-V2, section 2.1.2: the expansion
    is absorbed into the queries and outputs, which costs what expanding the new token costs).
    """
    heads = max(op.n_heads / replica.tp, 1.0)
    context = work.context if op.window is None else np.minimum(work.context, op.window)
    prompt = AttentionShape(
        batch=work.prompts,
        queries=work.prompt_tokens,
        keys=work.prompt_tokens,
        n_heads=heads,
        n_kv_heads=max(op.n_kv_heads / replica.tp, 1.0),
        qk_dim=op.qk_dim,
        v_dim=op.v_dim,
        causal=op.causal and replica.stack.attention == "flash",
        window=op.window,
    )
    qk_dim, v_dim = (op.qk_dim, op.v_dim) if op.cached is None else (op.cached, op.cached)
    decode = replace(
        prompt, batch=work.sequences, queries=1.0, keys=context, qk_dim=qk_dim, v_dim=v_dim, causal=False, window=None
    )
    kept = cached_elements(op, replica.tp) * kv_element_bytes(replica.kv)
    copied = 3.0 if replica.stack.copies_cache else 1.0  # read and written once more to append a token
    read = copied * work.sequences * context * kept + prompt.elements * replica.stored.wide
    if replica.stack.attention == "plain":
        read = read + 6.0 * heads * replica.stored.wide * (prompt.batch * prompt.pairs + decode.batch * decode.pairs)
    flop = prompt.flop * prompt.seen_share + decode.flop
    return Pass(
        attention=_attention_s(replica, prompt) + _attention_s(replica, decode),
        cache=read / stream_bytes_per_s(replica.device, np.maximum(read, 1.0)),
        kernels=(1.0 if replica.stack.attention == "flash" else 5.0) * replica.kernel_s,
        flop=flop,
    )


def _attention_s(replica: Replica, shape: AttentionShape) -> Number:
    """Arithmetic of attention at the kernel's best rate, which kernels that cut the keys reach at any batch.

    Source: Dao et al., "Flash-Decoding for long-context inference", 2023.
    """
    device, base = replica.device, replica.base
    if base in device.efficiency.attention_curves:
        return measured_attention_s(shape, device.efficiency.attention_curves[base])
    best = device.efficiency.attention_forward.best * peak_flop_per_s(device, base)
    return shape.flop * shape.seen_share / best


def _span(replica: Replica, n_ranks: float, stride: float = 1.0) -> Span:
    """Where ranks lie; an engine starts collectives from C++ or a graph, without what PyTorch takes for it."""
    where = span(replica.group, n_ranks, stride)
    return replace(where, intra=replace(where.intra, start_s=0.0), inter=replace(where.inter, start_s=0.0))


def _exchanged(replica: Replica, block: Block, tokens: Number) -> Number:
    """All-reduces after attention and after the MLP over tp; tokens to their experts and back over ep."""
    products = [op for op in block.ops if isinstance(op, Matmul)]
    rows = [op for op in products if op.split == "row" and not op.name.startswith("shared")]
    experts = [op for op in products if op.n_experts > 1]
    total: Number = 0.0
    if replica.tp > 1:
        where = _span(replica, float(replica.tp))
        widths = [op.n for op in rows] + [op.n for op in experts if op.name.endswith("_out")]
        lookups = [op.width for op in block.ops if isinstance(op, Lookup) and op.split == "vocabulary"]
        for width in widths + lookups:
            total = total + collective_s("all_reduce", tokens * width * replica.stored.wide, where)
    if replica.ep > 1 and experts:
        where = _span(replica, float(replica.ep), float(replica.tp))
        sent = tokens * experts[0].experts_per_token * experts[0].k * replica.stored.wide / replica.tp
        total = total + 2.0 * collective_s("all_to_all", sent, where)
    return total


def _sends(replica: Replica, work: Work) -> Number:
    """Activations handed from stage to stage."""
    if replica.pp == 1:
        return 0.0
    boundary = replica.model.blocks[1].boundary.at(1.0, 1.0)
    where = _span(replica, float(replica.pp), float(replica.tp * replica.ep))
    return (replica.pp - 1) * collective_s("p2p", work.tokens * boundary * replica.stored.wide, where)


def _only(op: Pointwise | Lookup) -> Block:
    return Block(name="one", ops=(op,), boundary=op.elements if isinstance(op, Pointwise) else op.rows)


def _endless(device: Device) -> Device:
    """The device as if memory and kernel starts took no time."""
    efficiency = replace(device.efficiency, stream_points=())
    return replace(device, memory_bytes_per_s=float("inf"), launch_s=0.0, efficiency=efficiency)


def _arithmetic(replica: Replica, device: Device) -> Arithmetic:
    stack: Stack = replica.stack.kernels
    return Arithmetic(low=replica.dtype, base=replica.base, device=device, stack=stack)
