"""Memory of a replica's device: weights, what the engine needs, and how many sequences fit beside."""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.cost.serving.cache import cache_bytes
from trainwright.cost.serving.replica import Replica
from trainwright.cost.serving.stack import GIB
from trainwright.jobs.serving import Requests
from trainwright.models.spec import CrossEntropy, Lookup, Matmul, Op
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes on the fullest device. ``cache`` is what is left for keys and values (below 0: it does not fit)."""

    weights: float
    activations: float
    reserve: float
    cache: float
    capacity: float

    @property
    def least(self) -> float:
        """What there must be before any sequence."""
        return self.weights + self.activations + self.reserve


def room(replica: Replica, chunk: int | None = None) -> Room:
    """The room of a replica; ``chunk``: tokens of a pass at most (None: as the engine's)."""
    capacity = replica.device.memory_bytes * replica.stack.memory_share
    weights = weight_bytes(replica)
    activations = activation_bytes(replica, min(chunk or replica.stack.chunk, replica.stack.chunk))
    reserve = replica.stack.reserve_gib * GIB if replica.device.kind != "cpu" else 0.2 * GIB
    left = capacity - weights - activations - reserve
    return Room(weights=weights, activations=activations, reserve=reserve, cache=left, capacity=capacity)


def weight_bytes(replica: Replica) -> float:
    """Bytes of the weights on the fullest device: layers cut over tp and pp, experts over ep too, ends over tp.

    A head that shares the embedding is held once.
    """
    model, stored = replica.model, replica.stored
    first, *layers, last = model.blocks
    inner = sum(block.repeats * _held(replica, op) for block in layers for op in block.ops) * replica.imbalance
    ends = sum(_held(replica, op) for block in (first, last) for op in block.ops)
    ends -= model.n_tied_parameters / replica.tp
    per_stage = ends if replica.pp == 1 else max(sum(_held(replica, op) for op in block.ops) for block in (first, last))
    return inner / replica.pp * stored.bits / 8.0 + per_stage * stored.end_bits / 8.0


def _held(replica: Replica, op: Op) -> float:
    if not op.n_parameters:
        return 0.0
    ways = replica.tp if op.split != "none" else 1
    return op.n_parameters / (ways * replica.ep if op.split == "expert" else ways)


def activation_bytes(replica: Replica, chunk: int) -> float:
    """The widest point of a pass over ``chunk`` tokens: the residual stream twice and the widest op's in and out.

    Logits of as many sequences as the engine takes, in fp32, at the end of it.
    """
    widest, hidden, vocabulary = 0.0, 0.0, 0.0
    for block in replica.model.blocks:
        for op in block.ops:
            if isinstance(op, Lookup):
                hidden = max(hidden, float(op.width))
            elif isinstance(op, Matmul) and op.split != "vocabulary":
                ways = replica.tp if op.split in ("column", "row", "heads", "expert") else 1
                widest = max(widest, (op.n + op.k) / ways * op.experts_per_token)
            elif isinstance(op, CrossEntropy):
                vocabulary = float(op.n_classes)
    inside = chunk * (2.0 * hidden + widest) * replica.stored.wide
    logits = 2.0 * 4.0 * min(chunk, replica.stack.max_batch) * vocabulary / replica.tp
    return max(inside, logits)


def held_tokens(replica: Replica, kind: Requests) -> float:
    """Tokens that a request in flight keeps room for: its prompt and the engine's share of the output."""
    return kind.prompt + replica.stack.held_share * kind.output


def most_sequences(replica: Replica, mix: tuple[Requests, ...], found: Room) -> float:
    """Sequences of the mix that fit the cache at once over the whole replica; below 1 not even one does."""
    each: Number = sum(_in_flight(mix, kind) * cache_bytes(replica, held_tokens(replica, kind)) for kind in mix)
    if float(each) <= 0.0:
        return float(replica.stack.max_batch)
    return max(found.cache, 0.0) / float(each) * replica.ep


def _in_flight(mix: tuple[Requests, ...], kind: Requests) -> float:
    """Share of the sequences in flight that are of this kind: by how long they stay, which is by their output."""
    return kind.share * kind.output / sum(other.share * other.output for other in mix)
