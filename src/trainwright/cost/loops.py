"""Loops over time: kernels of a recurrent cell find what they touch in a cache, where the round before left it."""

from __future__ import annotations

from trainwright.cost.pointwise import stream_s
from trainwright.hardware.device import Device
from trainwright.models.spec import Block, Matmul, Op, Pointwise
from trainwright.units import Number

MANY = 8
"""So many kernels of one op are done in a loop."""


def rounds(op: Op) -> int:
    """How often an op is done in a loop, forward or only backward; once outside one."""
    n_kernels = max(op.n_kernels, op.backward_kernels)
    return n_kernels if n_kernels >= MANY else 1


def loops(block: Block) -> tuple[Op, ...]:
    """The ops of a block that are done in a loop."""
    return tuple(op for op in block.ops if rounds(op) > 1)


def round_elements(block: Block, batch: Number, seq: Number) -> Number:
    """Elements that one round of a block's loops touches, forward and backward together.

    The op with the fewest kernels tells how many rounds there are. A product's weight is touched in every round.
    """
    looped = loops(block)
    n_rounds = min(rounds(op) for op in looped)
    touched: Number = 0.0
    for op in looped:
        if isinstance(op, Pointwise):
            passes = op.reads + op.writes + op.backward_reads + op.backward_writes
            touched = touched + op.elements.at(batch, seq) * passes / n_rounds
        elif isinstance(op, Matmul):
            touched = touched + op.n * op.k * op.count / n_rounds
    return touched


def nearer_s(seconds: Number, moved_bytes: Number, n_kernels: int, near_bytes: Number, device: Device) -> Number:
    """Seconds of so many kernels that move so many bytes in all, when a round of their loop touches ``near_bytes``.

    What they took far from the caches, less what moving takes there, more what it takes near; a kernel that is done
    once stays as it is.
    """
    if n_kernels < MANY:
        return seconds
    each = moved_bytes / n_kernels
    far_s = n_kernels * stream_s(each, device)
    near_s = n_kernels * stream_s(each, device, working_set_bytes=near_bytes, is_near=True)
    nearer: Number = (seconds > far_s) * (seconds - far_s) + near_s
    return nearer
