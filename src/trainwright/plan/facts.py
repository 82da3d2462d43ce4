"""What the rules of legality need to know of a model, a workload and a cluster: a few whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from trainwright.hardware.cluster import Cluster
from trainwright.jobs.job import Workload
from trainwright.models.spec import Attention, Block, CrossEntropy, Lookup, Matmul, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Counts that degrees must divide or stay below.

    ``n_layers``: blocks a pipeline may cut between. ``n_heads``, ``n_kv_heads``: greatest common divisor over the
    model's attentions, 0 where it has none. ``n_experts``: likewise over its mixtures, 1 without. ``splits``: whether
    any op says how tensor parallelism divides it. ``tp_across_nodes``: whether tp may leave a node.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    n_experts: int
    splits: bool
    global_batch: int
    seq: int
    n_devices: int
    devices_per_node: int
    precisions: tuple[str, ...]
    device: str
    is_cpu: bool
    tp_across_nodes: bool = False


def is_layer(block: Block) -> bool:
    """Whether a pipeline may cut beside this block: all but the embedding and the head, which go with an end.

    >>> from trainwright.models.spec import PER_TOKEN
    >>> table = Lookup(name="embedding", rows=PER_TOKEN, width=8, n_entries=100)
    >>> is_layer(Block(name="embedding", ops=(table,), boundary=PER_TOKEN))
    False
    """
    return not any(isinstance(op, Lookup | CrossEntropy) for op in block.ops)


def gather_facts(model: ModelSpec, workload: Workload, cluster: Cluster, *, tp_across_nodes: bool = False) -> Facts:
    """The facts of one job on one cluster; of a heterogeneous cluster, what holds in every group."""
    ops = [op for block in model.blocks for op in block.ops]
    attentions = [op for op in ops if isinstance(op, Attention)]
    experts = [op.n_experts for op in ops if isinstance(op, Matmul) and op.n_experts > 1]
    rates = [set(group.device.flop_per_s) for group in cluster.groups]
    return Facts(
        n_layers=sum(block.repeats for block in model.blocks if is_layer(block)),
        n_heads=gcd(*(op.n_heads for op in attentions)),
        n_kv_heads=gcd(*(op.n_kv_heads for op in attentions)),
        n_experts=gcd(*experts) if experts else 1,
        splits=any(op.split not in ("none", "expert") for op in ops),
        global_batch=workload.global_batch,
        seq=workload.seq,
        n_devices=cluster.n_devices,
        devices_per_node=min(group.devices_per_node for group in cluster.groups),
        precisions=tuple(sorted(set.intersection(*rates))),
        device=" + ".join(dict.fromkeys(group.device.name for group in cluster.groups)),
        is_cpu=all(group.device.kind == "cpu" for group in cluster.groups),
        tp_across_nodes=tp_across_nodes,
    )
