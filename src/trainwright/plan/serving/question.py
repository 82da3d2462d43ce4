"""What a serving plan is asked for, and one offer that answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainwright.cost.serving.replica import Replica
from trainwright.cost.serving.room import Room
from trainwright.cost.serving.stack import ServingStack
from trainwright.hardware.cluster import Cluster
from trainwright.jobs.serving import Serving
from trainwright.models.spec import Attention, ModelSpec
from trainwright.plan.aim import Goal
from trainwright.plan.pins import Pin

USUAL_ENGINE = "vllm"
OWN_ENGINE = "trainwright"
"""What serves where nobody names an engine: on hardware to rent, and on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingQuestion:
    """A model, what is asked of it, where it may run, the engine, a goal and the user's pins."""

    model: ModelSpec
    serving: Serving
    clusters: tuple[Cluster, ...]
    stack: ServingStack
    goal: Goal = "cheapest"
    pins: tuple[Pin, ...] = ()
    max_devices: int | None = None
    n_shown: int = 8

    @property
    def attentions(self) -> tuple[Attention, ...]:
        """The attention ops of the model."""
        return tuple(op for block in self.model.blocks for op in block.ops if isinstance(op, Attention))


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """So many equal replicas at one operating point; rates are of all of them, ``batch`` of one.

    ``most``: sequences one replica has room for; ``dollars_per_hour`` None where nobody named a price.
    """

    cluster: str
    replica: Replica
    n_replicas: int
    room: Room
    most: float
    batch: float
    queue_s: float
    ttft_s: float
    tpot_s: float
    latency_s: float
    requests_per_s: float
    tokens_per_s: float
    joules_per_token: float | None
    parts: Mapping[str, float]
    missed: tuple[str, ...] = ()

    @property
    def n_devices(self) -> int:
        """Devices of all replicas."""
        return self.replica.n_devices * self.n_replicas

    @property
    def dollars_per_hour(self) -> float | None:
        """Rent of the devices in use."""
        price = self.replica.group.dollars_per_device_hour
        return None if price is None else price * self.n_devices

    @property
    def dollars_per_million(self) -> float | None:
        """Dollars for a million output tokens, their prompts included."""
        return None if self.dollars_per_hour is None else self.dollars_per_hour / 3600.0 / self.tokens_per_s * 1e6

    @property
    def used_bytes(self) -> float:
        """Bytes in use on the fullest device at this batch."""
        return self.room.least + max(self.room.cache, 0.0) * min(self.batch / max(self.most, 1e-9), 1.0)

    def figure(self, goal: Goal, *, at_rate: bool) -> float:
        """What the goal makes small: dollars a token (device-seconds without a price), latency, or bytes.

        "fastest" without a rate: the most tokens a second in all.
        """
        if goal == "least-memory":
            return self.room.least * self.n_devices
        if goal == "fastest":
            return self.latency_s if at_rate else -self.tokens_per_s
        return self.dollars_per_million or self.n_devices / self.tokens_per_s

    def describe(self) -> str:
        """In a few words: "2 x tp4 fp8"."""
        return f"{self.n_replicas} x {self.replica.describe()}"
