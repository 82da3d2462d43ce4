"""How one training step is divided among devices.

Stands in ``jobs``, not in ``plan`` as first drawn, because ``cost`` prices it and stands above ``plan``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Count = int | NDArray[np.int64]
"""A degree or a batch: one number, or an array where the strategy is a table of candidates."""

Precision = Literal["fp32", "tf32", "bf16", "fp16", "fp8", "fp4"]
Recompute = Literal["none", "selective", "full"]
Schedule = Literal["gpipe", "1f1b", "interleaved", "zero_bubble"]
Offload = Literal["none", "optimizer", "parameters"]
Axis = Literal["tp", "cp", "ep", "dp", "pp"]

PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16", "fp16", "fp8", "fp4")
RECOMPUTES: tuple[Recompute, ...] = ("none", "selective", "full")
SCHEDULES: tuple[Schedule, ...] = ("gpipe", "1f1b", "interleaved", "zero_bubble")
OFFLOADS: tuple[Offload, ...] = ("none", "optimizer", "parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One strategy, or a table of them: counts may be arrays of one length, choices are shared by the table.

    ``dp`` counts every data-parallel replica; with ``zero_stage`` > 0 states are sharded over ``shard`` of them (None:
    all; less is HSDP). ``ep`` ranks lie inside ``dp`` (and ``cp``). ``recompute_every`` k recomputes every k-th block
    only. ``order`` lists the axes from the fastest network outwards. ``stages`` gives uneven blocks per pipeline stage,
    ``samples`` uneven parts of the global batch per data-parallel replica. Gradient accumulation follows from the
    global batch: global_batch / (dp * micro_batch).
    """

    dp: Count = 1
    tp: Count = 1
    cp: Count = 1
    pp: Count = 1
    ep: Count = 1
    micro_batch: Count = 1
    zero_stage: int = 0
    shard: Count | None = None
    sequence_parallel: bool = False
    cp_kind: Literal["ring", "all_to_all"] = "ring"
    schedule: Schedule = "1f1b"
    virtual_stages: Count = 1
    stages: tuple[int, ...] | None = None
    samples: tuple[int, ...] | None = None
    recompute: Recompute = "none"
    recompute_every: Count = 1
    precision: Precision = "bf16"
    offload: Offload = "none"
    order: tuple[Axis, ...] = ("tp", "cp", "ep", "dp", "pp")

    @property
    def n_devices(self) -> Count:
        """Devices the strategy uses; ep lies inside dp and adds none."""
        return self.dp * self.tp * self.cp * self.pp


def even_stages(n_blocks: int, n_stages: int) -> tuple[int, ...]:
    """Blocks of each stage; where they do not divide, the last has one fewer, then the first, and so on inwards.

    With virtual stages there are pp x virtual_stages of them, and process r of a pipeline has r, r + pp, r + 2 pp, ...

    >>> even_stages(12, 4), even_stages(13, 4), even_stages(10, 4)
    ((3, 3, 3, 3), (3, 4, 3, 3), (2, 3, 3, 2))
    """
    most = -(-n_blocks // n_stages)
    sizes = [most] * n_stages
    for index in range(most * n_stages - n_blocks):
        sizes[-1 - index // 2 if index % 2 == 0 else index // 2] -= 1
    return tuple(sizes)
