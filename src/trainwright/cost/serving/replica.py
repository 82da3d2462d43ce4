"""One replica: a model in some format on some devices of a group, run by an engine."""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.cost.serving.formats import WeightFormat, base_dtype, multiply_dtype
from trainwright.cost.serving.stack import ServingStack
from trainwright.hardware.cluster import NodeGroup
from trainwright.hardware.device import Device
from trainwright.models.spec import Matmul, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """``tp`` devices share every layer, ``pp`` groups of them share the layers out.

    ``ep``: so many groups each decode sequences of their own and share out the experts (attention is data parallel).
    ``kv``: the format of the cache.
    """

    model: ModelSpec
    stack: ServingStack
    group: NodeGroup
    stored: WeightFormat
    kv: str
    tp: int = 1
    pp: int = 1
    ep: int = 1

    @property
    def n_devices(self) -> int:
        """Devices of the replica."""
        return self.tp * self.pp * self.ep

    @property
    def device(self) -> Device:
        """The device."""
        return self.group.device

    @property
    def kernel_s(self) -> float:
        """Seconds to start a kernel: the engine's, or what a probe measured where the device is its own host."""
        measured = self.device.launch_s if self.device.kind == "cpu" else 0.0
        return measured or self.stack.kernel_s

    @property
    def dtype(self) -> str:
        """What the blocks' products run in."""
        return multiply_dtype(self.stored, self.device)

    @property
    def base(self) -> str:
        """What attention, the head and everything between run in."""
        return base_dtype(self.stored, self.device)

    @property
    def n_layers(self) -> int:
        """Repeated blocks between the first and the last."""
        return sum(block.repeats for block in self.model.blocks[1:-1])

    @property
    def n_experts(self) -> int:
        """Experts of a layer that has most; 1 in a dense model."""
        ops = (op for block in self.model.blocks for op in block.ops)
        return max((op.n_experts for op in ops if isinstance(op, Matmul)), default=1)

    @property
    def imbalance(self) -> float:
        """How much more layers the fullest stage holds than the mean one."""
        return -(-self.n_layers // self.pp) * self.pp / max(self.n_layers, 1)

    def describe(self) -> str:
        """In a few words: "tp8 fp8 kv-fp8"."""
        axes = [f"{axis}{degree}" for axis in ("tp", "pp", "ep") if (degree := getattr(self, axis)) > 1]
        kv = [] if self.kv in (self.stored.name, self.base) else [f"kv-{self.kv}"]
        return " ".join([*axes, self.stored.name, *kv])
