"""Everything a step depends on, with the strategy as a table and the blocks priced."""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.cost.footprint import in_step
from trainwright.cost.shard import Arithmetic
from trainwright.cost.stack import Stack
from trainwright.cost.stages import PriceBook, Stages, stages
from trainwright.cost.table import Table, table
from trainwright.hardware.cluster import NodeGroup
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One group of devices, a model and a table of strategies for it."""

    model: ModelSpec
    table: Table
    group: NodeGroup
    stack: Stack
    how: Arithmetic
    stages: Stages


def setting(
    model: ModelSpec,
    workload: Workload,
    strategy: Strategy,
    group: NodeGroup,
    stack: Stack,
    book: PriceBook | None = None,
) -> Setting:
    """The setting, with every block priced at every shape that occurs, from the ``book`` where one is kept."""
    rows, group = table(strategy, workload), in_step(group, model, workload)
    how = arithmetic(strategy, workload, group, stack)
    return Setting(model=model, table=rows, group=group, stack=stack, how=how, stages=stages(model, rows, how, book))


def arithmetic(strategy: Strategy, workload: Workload, group: NodeGroup, stack: Stack) -> Arithmetic:
    """Which dtypes multiply: narrow formats only in the blocks' matmuls, 16 bits elsewhere."""
    narrow = strategy.precision in ("fp8", "fp4")
    return Arithmetic(
        low=strategy.precision,
        base="bf16" if narrow else strategy.precision,
        device=group.device,
        stack=stack,
        lora=workload.objective == "lora",
        four_bits=workload.quantized_base,
    )
