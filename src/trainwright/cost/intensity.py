"""Where a step's products stand under their device's roofline: FLOP for each byte, and the rate predicted for it."""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.cost.block import block_cost, local_product
from trainwright.cost.setting import arithmetic
from trainwright.cost.shard import Shard
from trainwright.cost.stack import Stack
from trainwright.hardware.cluster import NodeGroup
from trainwright.hardware.device import DTYPE_BYTES
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import Block, Matmul, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One product: operands and result moved once give ``flop_per_byte``; ``flop_per_s`` is what the device reaches."""

    name: str
    flop_per_byte: float
    flop_per_s: float


def standings(
    model: ModelSpec, workload: Workload, strategy: Strategy, group: NodeGroup, stack: Stack
) -> tuple[Standing, ...]:
    """The forward products of one micro-batch on one device, each shape once.

    Source: Williams et al., "Roofline", CACM 52(4), 2009.
    """
    how = arithmetic(strategy, workload, group, stack)
    shard = Shard(
        batch=float(strategy.micro_batch),
        seq=float(workload.seq),
        tp=float(strategy.tp),
        cp=float(strategy.cp),
        ep=float(strategy.ep),
        sequence_parallel=strategy.sequence_parallel,
    )
    found: dict[tuple[float, ...], Standing] = {}
    for block in model.blocks:
        for op in block.ops:
            if not isinstance(op, Matmul):
                continue
            product = local_product(op, op.rows.at(shard.batch, shard.local_seq), shard)
            seconds = block_cost(Block(name=op.name, ops=(op,), boundary=block.boundary), shard, how).forward_s
            shape = tuple(float(size) for size in (product.m, product.n, product.k, product.count))
            moved = float(product.elements) * DTYPE_BYTES[how.low]
            standing = Standing(
                name=op.name,
                flop_per_byte=float(product.flop) / moved,
                flop_per_s=float(product.flop) / float(seconds),
            )
            found.setdefault(shape, standing)
    return tuple(found.values())
