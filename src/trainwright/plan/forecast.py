"""One prediction of one strategy: checked, priced, and carried on to the whole job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainwright.cost.money import Bill, bill
from trainwright.cost.rule_of_thumb import RuleOfThumb, rule_of_thumb
from trainwright.cost.stack import stack
from trainwright.errors import InvalidInputError
from trainwright.hardware.cluster import Cluster
from trainwright.hardware.device import DTYPE_BYTES, Device
from trainwright.jobs.strategy import Strategy
from trainwright.plan.choice import Choice
from trainwright.plan.costed import Task
from trainwright.plan.legal import refusals
from trainwright.plan.price import price
from trainwright.plan.subject import Subject

Fits = Literal["yes", "no", "close"]
SURE = 0.9
"""Fits with this probability or more is a yes, does not with as much is a no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a strategy would take, its whole job where the steps are known, and the rules of thumb beside it."""

    subject: Subject
    stack: str
    choice: Choice
    bill: Bill | None
    rule: RuleOfThumb

    @property
    def device(self) -> Device:
        """The device of the first group."""
        return self.choice.cluster.groups[0].device

    @property
    def fits(self) -> Fits:
        """Whether it fits the memory: yes, no, or close."""
        likely = self.choice.fit_probability
        if likely is None:
            likely = 1.0 if self.choice.occupied_bytes <= self.choice.capacity_bytes else 0.0
        return "yes" if likely >= SURE else "no" if likely <= 1.0 - SURE else "close"


def doubts(strategy: Strategy, cluster: Cluster) -> tuple[str, ...]:
    """What is legal and seldom meant: devices left idle, tensor parallel over the network."""
    found = []
    if strategy.n_devices < cluster.n_devices:
        found.append(f"the strategy uses {strategy.n_devices} of {cluster.n_devices} devices")
    nearest = cluster.groups[0].devices_per_node
    if strategy.tp > nearest:
        found.append(f"tp {strategy.tp} crosses nodes of {nearest} devices, which `plan` does only where it is pinned")
    return tuple(found)


def forecast(subject: Subject, cluster: Cluster, strategy: Strategy, stack_name: str) -> Forecast:
    """The prediction of a legal strategy; an impossible one raises with every rule it breaks."""
    workload = subject.workload
    found = refusals(strategy, subject.model, workload, cluster, tp_across_nodes=True)
    if found:
        told = "; ".join(refusal.message for refusal in found)
        advice = "; ".join(dict.fromkeys(refusal.advice for refusal in found if refusal.advice))
        raise InvalidInputError(f"this strategy is impossible: {told}", hint=advice or None)
    task = Task(model=subject.model, workload=workload, stack=stack(stack_name))
    choice = price(task, cluster, strategy)
    steps = subject.n_steps
    return Forecast(
        subject=subject,
        stack=stack_name,
        choice=choice,
        bill=None if steps is None else bill(choice.estimate, steps, choice.dollars_per_step),
        rule=rule_of_thumb(subject.model, workload, int(strategy.micro_batch), DTYPE_BYTES[strategy.precision]),
    )
