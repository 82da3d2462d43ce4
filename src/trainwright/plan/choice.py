"""One answer of a search: a strategy on a cluster, with everything it would cost."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from trainwright.cost.estimate import Estimate
from trainwright.hardware.cluster import Cluster
from trainwright.jobs.strategy import Strategy
from trainwright.plan.aim import Goal
from trainwright.plan.chance import below, sigma


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """``occupied_bytes``: what the fullest device loses at the peak, allocator's gaps and contexts included.

    ``capacity_bytes``: memory of the smallest device; ``dollars_per_step``: None where nobody named a price.
    """

    cluster: Cluster
    strategy: Strategy
    estimate: Estimate
    occupied_bytes: float
    capacity_bytes: float
    dollars_per_step: float | None

    @property
    def step_s(self) -> float:
        """Seconds of one optimizer step."""
        return float(self.estimate.step_s)

    @property
    def peak_bytes(self) -> float:
        """Most bytes allocated on the fullest device."""
        return float(self.estimate.peak_bytes)

    def figure(self, goal: Goal) -> float:
        """What the goal minimizes: seconds, dollars (device-seconds where nobody named a price) or bytes."""
        if goal == "fastest":
            return self.step_s
        if goal == "least-memory":
            return self.occupied_bytes
        device_s = self.step_s * float(self.strategy.n_devices)
        return device_s if self.dollars_per_step is None else self.dollars_per_step

    def utilization(self, *, hardware: bool = False) -> float | None:
        """MFU, or HFU with what is recomputed: FLOP per second over the first device's peak of the precision.

        None where that device states no such peak.
        """
        peak = self.cluster.groups[0].device.flop_per_s.get(self.strategy.precision)
        done = self.estimate.hardware_flop if hardware else self.estimate.model_flop
        return None if peak is None else float(done) / self.step_s / peak

    @property
    def fit_probability(self) -> float | None:
        """How likely what it occupies stays below the device's memory; None without an interval."""
        interval = self.estimate.memory_interval
        return None if interval is None else below(self.capacity_bytes, self.occupied_bytes, sigma(interval))


def capacity_bytes(cluster: Cluster) -> float:
    """Memory of the cluster's smallest device."""
    return min(group.device.memory_bytes for group in cluster.groups)


def dollars_per_second(cluster: Cluster, n_devices: float) -> float | None:
    """What the nodes that hold so many devices cost in a second; None where a group has no price.

    Groups are filled in their order, nodes are rented whole.
    """
    total, left = 0.0, n_devices
    for group in cluster.groups:
        if group.dollars_per_device_hour is None:
            return None
        nodes = min(group.n_nodes, -(-max(0.0, left) // group.devices_per_node))
        total += nodes * group.devices_per_node * group.dollars_per_device_hour / 3600.0
        left -= nodes * group.devices_per_node
    return total


def stages_text(stages: tuple[int, ...]) -> str:
    """Blocks of each stage, runs of equal ones together; empty where they are even.

    >>> stages_text((9, 8, 8, 7)), stages_text((4, 4))
    ('9-8x2-7', '')
    """
    runs = [(size, len(list(run))) for size, run in groupby(stages)]
    return "" if len(runs) == 1 else "-".join(f"{size}x{n}" if n > 1 else str(size) for size, n in runs)


def describe(strategy: Strategy) -> str:
    """A strategy in a few words, the axes that are used only.

    >>> describe(Strategy(dp=4, tp=8, sequence_parallel=True, zero_stage=1, recompute="full", recompute_every=2))
    'dp4 tp8 sp zero1 mb1 full/2'
    """
    words = [f"{axis}{degree}" for axis in ("dp", "tp", "cp", "pp", "ep") if (degree := getattr(strategy, axis)) > 1]
    if strategy.sequence_parallel:
        words.append("sp")
    if strategy.cp > 1 and strategy.cp_kind != "ring":
        words.append("cp-a2a")
    if strategy.zero_stage:
        part = f"/{strategy.shard}" if strategy.shard is not None and strategy.shard != strategy.dp else ""
        words.append(f"zero{strategy.zero_stage}{part}")
    if strategy.pp > 1 and strategy.schedule != "1f1b":
        virtual = f" v{strategy.virtual_stages}" if strategy.virtual_stages > 1 else ""
        words.append(strategy.schedule.replace("_", "-") + virtual)
    if strategy.stages is not None and (divided := stages_text(strategy.stages)):
        words.append(f"blocks-{divided}")
    words.append(f"mb{strategy.micro_batch}")
    if strategy.recompute != "none":
        words.append(strategy.recompute + (f"/{strategy.recompute_every}" if strategy.recompute_every > 1 else ""))
    if strategy.offload != "none":
        words.append(f"offload-{strategy.offload}")
    return " ".join(words)
