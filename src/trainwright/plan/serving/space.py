"""Every legal replica on a group of devices, and why others are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from trainwright.cost.serving.formats import base_dtype, multiply_dtype, weight_format
from trainwright.cost.serving.replica import Replica
from trainwright.errors import InvalidInputError
from trainwright.hardware.cluster import NodeGroup
from trainwright.jobs.serving import WeightFormatName
from trainwright.models.spec import Attention, Matmul
from trainwright.plan.pins import allowed, pinned_values
from trainwright.plan.serving.question import ServingQuestion

Reason = Literal["engine", "heads", "experts", "layers", "nodes", "devices", "format"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A replica that cannot be: which rule, why, and what would do."""

    reason: Reason
    message: str
    advice: str


def legal(replica: Replica) -> Refused | None:
    """The first rule that a replica breaks; None when it breaks none."""
    return next((found for rule in (_devices, _engine, _heads, _experts, _layers) if (found := rule(replica))), None)


def _devices(replica: Replica) -> Refused | None:
    group = replica.group
    if replica.n_devices > group.n_devices:
        return Refused(
            reason="devices",
            message=f"{replica.describe()} takes {replica.n_devices} devices and there are {group.n_devices}",
            advice="allow more devices",
        )
    if replica.tp > group.devices_per_node:
        return Refused(
            reason="nodes",
            message=f"tp {replica.tp} leaves the node of {group.devices_per_node} devices: two exchanges a layer",
            advice=f"tp {group.devices_per_node} with pp {-(-replica.tp // group.devices_per_node)}",
        )
    return None


def _engine(replica: Replica) -> Refused | None:
    stack = replica.stack
    for what, name, known in (
        ("weights", replica.stored.name, stack.weights),
        ("a cache", replica.kv, stack.kv),
    ):
        if name not in known:
            return Refused(
                reason="format",
                message=f"{stack.name} has no {what} in {name}",
                advice=f"{', '.join(known)}",
            )
    if stack.layers_only and (replica.tp > 1 or replica.ep > 1):
        return Refused(reason="engine", message=f"{stack.name} splits by layers only", advice="pp instead")
    return None


def _heads(replica: Replica) -> Refused | None:
    for block in replica.model.blocks:
        for op in block.ops:
            if isinstance(op, Attention) and op.n_heads % replica.tp:
                fitting = [tp for tp in range(1, replica.tp) if op.n_heads % tp == 0]
                return Refused(
                    reason="heads",
                    message=f"tp {replica.tp}: {op.n_heads} heads do not divide",
                    advice=f"tp {fitting[-1]}",
                )
    return None


def _experts(replica: Replica) -> Refused | None:
    if replica.ep > 1 and replica.n_experts == 1:
        return Refused(reason="experts", message=f"ep {replica.ep}: the model has no experts", advice="more replicas")
    for block in replica.model.blocks:
        for op in block.ops:
            if isinstance(op, Matmul) and op.n_experts > 1 and op.n_experts % replica.ep:
                return Refused(
                    reason="experts",
                    message=f"ep {replica.ep}: {op.n_experts} experts do not divide",
                    advice=f"ep {max(ep for ep in range(1, replica.ep) if op.n_experts % ep == 0)}",
                )
    return None


def _layers(replica: Replica) -> Refused | None:
    if replica.pp > replica.n_layers:
        message = f"pp {replica.pp}: there are {replica.n_layers} layers"
        return Refused(reason="layers", message=message, advice=f"pp {replica.n_layers} at most")
    return None


def replicas(question: ServingQuestion, group: NodeGroup) -> Iterator[Replica]:
    """The legal replicas on a group; pipelines and experts apart only in powers of two."""
    most = min(group.n_devices, question.max_devices or group.n_devices)
    formats = [(name, kv) for name in weight_names(question, group) for kv in kv_names(question, group, name)]
    for (name, kv), (tp, pp, ep) in product(formats, list(_splits(question, group, most))):
        stored = weight_format(name)
        one = Replica(
            model=question.model, stack=question.stack, group=group, stored=stored, kv=kv, tp=tp, pp=pp, ep=ep
        )
        if one.n_devices <= most and legal(one) is None:
            yield one


def _splits(question: ServingQuestion, group: NodeGroup, most: int) -> Iterator[tuple[int, int, int]]:
    node = group.devices_per_node
    tps = _values(question, "tp", [tp for tp in range(1, node + 1) if node % tp == 0])
    powers = [2**n for n in range(most.bit_length()) if 2**n <= most]
    experts = max((op.n_experts for b in question.model.blocks for op in b.ops if isinstance(op, Matmul)), default=1)
    eps = _values(question, "ep", [ep for ep in powers if experts % ep == 0] if experts > 1 else [1])
    for pp in _values(question, "pp", powers):
        yield from ((tp, pp, ep) for tp in tps for ep in eps)


def _values(question: ServingQuestion, axis: str, usual: Sequence[int]) -> list[int]:
    pinned = pinned_values(question.pins, axis)
    return [int(value) for value in (usual if pinned is None else pinned) if allowed(question.pins, axis, value)]


def weight_names(question: ServingQuestion, group: NodeGroup) -> list[WeightFormatName]:
    """Formats looked at: the user's, else 16 bits (32 where there is nothing less) and fp8 where the device has it.

    Narrower ones change answers, so nobody gets them unasked.
    """
    named = [question.serving.weights] if question.serving.weights else pinned_values(question.pins, "weights")
    rates = group.device.flop_per_s
    plain = "bf16" if "bf16" in rates else "fp16" if "fp16" in rates else "fp32"
    usual = [plain, *(["fp8"] if "fp8" in rates else [])]
    names = usual if named is None else list(named)
    found = [name for name in names if allowed(question.pins, "weights", name) and name in question.stack.weights]
    return [name for name in found if _multiplies(name, group)]  # type: ignore[misc]  # pins hold known formats


def _multiplies(name: int | str, group: NodeGroup) -> bool:
    try:
        multiply_dtype(weight_format(str(name)), group.device)
    except InvalidInputError:
        return False
    return True


def kv_names(question: ServingQuestion, group: NodeGroup, stored: str) -> list[str]:
    """Formats of the cache looked at: the user's, else that of the activations, or as wide a one the engine has."""
    base = base_dtype(weight_format(stored), group.device)
    named = [question.serving.kv] if question.serving.kv else pinned_values(question.pins, "kv")
    usual = next((name for name in (base, "bf16", "fp16", "fp32") if name in question.stack.kv), base)
    names = [usual] if named is None else [str(name) for name in named]
    return [name for name in names if allowed(question.pins, "kv", name) and name in question.stack.kv]


def changed(replica: Replica, **axes: int | str) -> Replica:
    """The replica with other axes: tp, pp, ep, weights, kv."""
    return replace(
        replica,
        stored=weight_format(str(axes["weights"])) if "weights" in axes else replica.stored,
        kv=str(axes.get("kv", replica.kv)),
        tp=int(axes.get("tp", replica.tp)),
        pp=int(axes.get("pp", replica.pp)),
        ep=int(axes.get("ep", replica.ep)),
    )
