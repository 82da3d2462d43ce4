"""What devices send each other in one step, by mesh axis: seconds of every collective, before overlap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from trainwright.cost.network import Span, collective_s, span
from trainwright.cost.numbers import anywhere, either, larger, smaller
from trainwright.cost.stack import Stack
from trainwright.cost.stages import Stages
from trainwright.cost.table import Array, Table, plain
from trainwright.hardware.cluster import NodeGroup
from trainwright.jobs.strategy import Axis
from trainwright.units import Number

SMALL_BYTES = 64.0
"""What a step's own small collective carries: loss, gradient norm, whether to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Where each kind of communicator lies.

    ``dp`` reduces gradients (context-parallel ranks hold the same weights, so they join); ``shard`` and ``replica``
    are its halves when states are sharded over part of it; ``expert`` reduces expert weights. ``world`` is everybody.
    """

    tp: Span
    cp: Span
    ep: Span
    pp: Span
    dp: Span
    shard: Span
    replica: Span
    expert: Span
    world: Span


def spans(table: Table, group: NodeGroup, stack: Stack) -> Spans:
    """The communicators of every candidate, from the order of the axes (fastest network first)."""
    stride: dict[Axis, Number] = {}
    inner: Number = 1.0
    for axis in table.strategy.order:
        stride[axis] = inner
        inner = inner if axis == "ep" else inner * plain(getattr(table, axis))
    data = smaller(stride["dp"], stride["cp"])
    holders, ep = plain(table.dp * table.cp), plain(table.ep)
    shard = smaller(plain(table.shard * table.cp), holders)
    at = partial(span, group, rings=stack.rings)
    return Spans(
        tp=at(plain(table.tp), stride["tp"]),
        cp=at(plain(table.cp), stride["cp"]),
        ep=at(ep, data),
        pp=at(plain(table.pp), stride["pp"]),
        dp=at(holders, data),
        shard=at(shard, data),
        replica=at(holders / shard, data * shard),
        expert=at(larger(holders / ep, 1.0), data * ep),
        world=at(plain(table.n_devices)),
    )


def tp_s(stages: Stages, table: Table, where: Spans) -> Array:
    """Seconds of activations exchanged over tp in one forward (as much again backward), per stage.

    All-reduce of each row-split output; with sequence parallel an all-gather before and a reduce-scatter after
    instead, which move as much. Source: Korthikanti et al., arXiv:2205.05198, section 4.2.
    """
    return _repeated(stages, "tp", table, where.tp, "all_reduce" if not table.strategy.sequence_parallel else "pair")


def _repeated(stages: Stages, axis: str, table: Table, where: Span, kind: str) -> Array:
    total: Array = np.zeros_like(stages.n_body)
    for cost, held in stages.pieces:
        if not anywhere(getattr(cost, f"{axis}_calls")):
            continue
        calls = larger(getattr(cost, f"{axis}_calls"), 1e-9)
        message = getattr(cost, f"{axis}_bytes") / calls
        if kind == "pair":
            one = collective_s("all_gather", message, where) + collective_s("reduce_scatter", message, where)
        else:
            one = collective_s("all_to_all" if kind == "all_to_all" else "all_reduce", message, where)
        total = total + one * either(calls > 1e-8, calls, 0.0) * held
    return total


def ep_s(stages: Stages, table: Table, where: Spans, stack: Stack) -> Array:
    """Seconds of all-to-alls that take tokens to their experts and back, in one forward, per stage."""
    over = where.ep
    if stack.sends_once:
        copies = stages.body.ep_bytes / larger(stages.body.ep_token_bytes, 1.0)
        over = replace(over, crossing=crossing_share(over.n_nodes, larger(copies, 1.0)))
    return 2.0 * _repeated(stages, "ep", table, over, "all_to_all")


def norms_s(stages: Stages, table: Table, where: Spans, passes: Array) -> Array:
    """Seconds of a micro-batch that batch norms over all replicas talk, per stage: gathered forward, summed backward.

    Statistics of 64 channels are 512 bytes, so that this is latency. ``passes``: forwards, repeated ones included.
    Source: Ioffe and Szegedy, arXiv:1502.03167, section 3, for what the gradient sums; runtime/batchnorm.py.
    """
    total: Array = np.zeros_like(stages.n_body)
    for cost, held in stages.pieces:
        if anywhere(cost.norm_calls):
            message = cost.norm_bytes / larger(cost.norm_calls, 1e-9)
            ahead = collective_s("all_gather", message * where.dp.n_ranks, where.dp)
            total = total + (passes * ahead + collective_s("all_reduce", message, where.dp)) * cost.norm_calls * held
    return total


def crossing_share(n_nodes: Number, copies: Number) -> Number:
    """Share of a token's copies for other nodes that cross the network where each node gets one and hands it on.

    N (1 - (1 - 1 / N)^k) / k: the nodes that k experts drawn from N nodes lie on, for each copy.
    Source: DeepEP counts tokens by node beside by rank (megatron-core 0.19.2, transformer/moe/fused_a2a.py).

    >>> float(crossing_share(1.0, 8.0)), float(crossing_share(2.0, 2.0))
    (0.125, 0.75)
    """
    share: Number = n_nodes * (1.0 - (1.0 - 1.0 / n_nodes) ** copies) / copies
    return share


def cp_s(stages: Stages, table: Table, where: Spans) -> Array:
    """Seconds of keys and values passed round in one forward (backward: twice, with their gradients), per stage.

    Ring: Liu et al., arXiv:2310.01889. All-to-all: queries, keys, values and output change from sequence to heads,
    Jacobs et al., arXiv:2309.14509.
    """
    local = stages.body.cp_bytes
    if table.strategy.cp_kind == "ring":
        each = collective_s("all_gather", local * table.cp, where.cp)
    else:
        each = 3.0 * collective_s("all_to_all", local, where.cp)
    return each * stages.n_body


def pp_s(boundary_bytes: Array, table: Table, where: Spans, stack: Stack) -> Array:
    """Seconds to send one micro-batch's activations to the next stage.

    With ``scatter_sends`` each tensor-parallel rank sends its part and the next stage gathers them again inside its
    node. Source: Narayanan et al., SC21 (arXiv:2104.04473), section 4.1; DeepSpeed's PartitionedTensor.
    """
    split, message, gathered = plain(table.split), plain(boundary_bytes), 0.0 * table.pp
    if stack.scatter_sends and not table.strategy.sequence_parallel:
        split, gathered = plain(table.tp), np.asarray(collective_s("all_gather", message, where.tp))
    seconds: Array = (collective_s("p2p", message / split, where.pp) + gathered) * (table.pp > 1)
    return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class DataParallel:
    """Seconds of gradient and parameter collectives, per stage.

    ``forward_s`` and ``backward_s``: parameter gathers of one micro-batch (ZeRO-3); ``reduce_s``: gradients, once;
    ``gather_s``: updated parameters, once a step (ZeRO-1 and 2).
    """

    forward_s: Array
    backward_s: Array
    reduce_s: Array
    gather_s: Array


def data_parallel(stages: Stages, table: Table, where: Spans, stack: Stack) -> DataParallel:
    """All-reduce of gradients; ZeRO 1-2: reduce-scatter, then all-gather of parameters; ZeRO-3: gathers at use.

    One collective a block and kind. HSDP (``shard`` less than dp) reduce-scatters inside the shard and all-reduces
    what is left between replicas. Source: Rajbhandari et al., arXiv:1910.02054; Zhao et al., arXiv:2304.11277.
    """
    send = stack.reduce_bytes if table.strategy.precision not in ("fp32", "tf32") else 4.0
    gather = parameter_bytes(table, stack)
    reduce_s, gather_s = np.zeros_like(stages.n_body), np.zeros_like(stages.n_body)
    sharded = table.strategy.zero_stage > 0
    kept = larger(where.shard.n_ranks, 1.0)
    for cost, held in stages.pieces:
        dense, expert = cost.parameters, cost.expert_parameters
        trained = cost.trainable / larger(dense + expert, 1.0)
        if sharded:
            one = collective_s("reduce_scatter", dense * trained * send, where.shard)
            one = one + collective_s("all_reduce", dense * trained * send / kept, where.replica)
            whole = collective_s("all_gather", dense * gather, where.shard)
            if anywhere(expert):
                one = one + collective_s("reduce_scatter", expert * trained * send, where.expert) * (expert > 0)
                whole = whole + collective_s("all_gather", expert * gather, where.expert) * (expert > 0)
            needed = 1.0 if table.strategy.zero_stage == 3 else either(trained > 0, 1.0, 0.0)
            gather_s = gather_s + whole * held * needed
        else:
            one = 0.0 * dense
            if stack.bucket_bytes is None:
                one = collective_s("all_reduce", dense * trained * send, where.dp)
            if anywhere(expert):
                one = one + collective_s("all_reduce", expert * trained * send, where.expert) * (expert > 0)
        reduce_s = reduce_s + one * held * (trained > 0)
    if not sharded and stack.bucket_bytes is not None:
        reduce_s = reduce_s + _bucketed_s(stages, send, where.dp, stack.bucket_bytes)
    if stack.step_collectives:
        rides = not sharded and (table.dp * table.cp == table.n_devices)  # with the gradients, which all hold then
        alone_s = stack.step_collectives * collective_s("all_reduce", SMALL_BYTES, where.world)
        reduce_s = reduce_s + either(rides, 0.0, alone_s)
    none = np.zeros_like(reduce_s)
    if table.strategy.zero_stage == 3:
        return DataParallel(forward_s=gather_s, backward_s=gather_s, reduce_s=reduce_s, gather_s=none)
    return DataParallel(forward_s=none, backward_s=none, reduce_s=reduce_s, gather_s=gather_s)


def _bucketed_s(stages: Stages, send: float, where: Span, bucket_bytes: float) -> Array:
    """All-reduce of a stage's dense gradients in buckets that blocks share, as DDP does it.

    Source: Li et al., PyTorch Distributed, VLDB 2020 (arXiv:2006.15704), section 3.2.3.
    """
    message = np.zeros_like(stages.n_body)
    for cost, held in stages.pieces:
        trained = cost.trainable / larger(cost.parameters + cost.expert_parameters, 1.0)
        message = message + cost.parameters * trained * send * held
    buckets = np.maximum(np.ceil(message / bucket_bytes), 1.0)
    return collective_s("all_reduce", message / buckets, where) * buckets * (message > 0)


def parameter_bytes(table: Table, stack: Stack) -> float:
    """Bytes of a parameter as it is gathered: the compute dtype, fp8 where the stack gathers that."""
    if stack.parameter_bytes is not None:
        return stack.parameter_bytes
    return 4.0 if table.strategy.precision in ("fp32", "tf32") else 2.0
