"""The whole answer to "how should I train this": search, explanation, remedies where nothing fits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from trainwright.cost.offload import host_bytes, host_room
from trainwright.cost.stack import stack
from trainwright.errors import DoesNotFitError, InvalidInputError
from trainwright.hardware.cluster import Cluster
from trainwright.jobs.strategy import Strategy
from trainwright.plan.aim import Aim
from trainwright.plan.choice import Choice, describe
from trainwright.plan.costed import Task
from trainwright.plan.explain import Explanation, explain, explain_choice, too_large_text
from trainwright.plan.facts import Facts, gather_facts
from trainwright.plan.groups import Mixed, split_over_groups, together
from trainwright.plan.legal import refusals_of
from trainwright.plan.pins import Pin, parse_pins
from trainwright.plan.price import price
from trainwright.plan.relay import Relay, pipeline_over_groups
from trainwright.plan.remedy import Remedy, remedies
from trainwright.plan.search import SearchResult, search
from trainwright.plan.subject import Subject
from trainwright.units import format_bytes, format_dollars, format_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A subject, the clusters it may run on, the software, an aim and the user's pins."""

    subject: Subject
    clusters: tuple[Cluster, ...]
    stack: str
    aim: Aim = field(default_factory=Aim)
    pins: tuple[Pin, ...] = ()

    @property
    def task(self) -> Task:
        """What the cost functions need of it."""
        return Task(model=self.subject.model, workload=self.subject.workload, stack=stack(self.stack))

    def facts(self, cluster: Cluster) -> Facts:
        """What the rules need of it on one of its clusters."""
        across = self.aim.tp_across_nodes
        return gather_facts(self.subject.model, self.subject.workload, cluster, tp_across_nodes=across)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Unlike parts of the batch for the replicas of unlike groups, as one strategy."""

    mixed: Mixed
    strategy: Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A question with its best choice, why, and what else there is.

    ``mixed``: on a cluster of unlike groups, what each would do with its share of the batch; ``result`` then holds
    the even splits, which the slowest group paces. ``relay``: there, one pipeline through all groups. ``shared``: what
    a run carries out there, where unlike parts of the batch beat the even split.
    """

    question: Question
    result: SearchResult
    explanation: Explanation
    mixed: Mixed | None = None
    relay: Relay | None = None
    shared: Shared | None = None

    @property
    def best(self) -> Choice:
        """The winner."""
        return self.result.ranking[0]

    @property
    def unlike(self) -> tuple[str, ...]:
        """On a cluster of unlike groups: what each does by shares and by stages, and which way is the fastest."""
        ways = {"the even split": self.best.step_s}
        told: tuple[str, ...] = ()
        if self.mixed is not None:
            ways["uneven shares"] = self.mixed.step_s
            ways |= {f"{name} alone": seconds for name, seconds in self.mixed.alone_s.items()}
            told += self.mixed.sentences
        if self.relay is not None:
            ways["the pipeline through all groups"] = self.relay.step_s
            told += self.relay.sentences
        if not told:
            return ()
        first = min(ways, key=lambda way: ways[way])
        told = (*told, f"fastest of these: {first}, {format_seconds(ways[first])} a step")
        if self.shared is not None:
            told += (f"plan.json holds the uneven shares: {describe(self.shared.strategy)}",)
        return told


def answer(question: Question) -> Answer:
    """Search and explain; a subject that brings its strategy is checked and priced instead.

    Raises DoesNotFitError where nothing keeps the limits, with the nearest things that would, and InvalidInputError
    where nothing is legal.
    """
    if question.subject.strategy is not None:
        return check(question, question.subject.strategy)
    result = search(
        question.subject.model,
        question.subject.workload,
        question.clusters,
        question.task.stack,
        question.aim,
        question.pins,
    )
    if result.best is None:
        raise nothing_fits(question, result)
    facts = question.facts(result.best.cluster)
    explanation = explain(result, question.task, facts)
    mixed, relay = _unlike(question)
    shared = None if mixed is None else share_out(question, mixed, result.best.step_s)
    return Answer(question=question, result=result, explanation=explanation, mixed=mixed, relay=relay, shared=shared)


def share_out(question: Question, mixed: Mixed, even_s: float) -> Shared | None:
    """The shares as one strategy with unlike replicas; None where the even split is as fast.

    Where the groups' best splits differ, the best that differ in data parallel and micro-batch only.
    """
    strategy = together(mixed)
    if strategy is None:
        pins = (*question.pins, *parse_pins(["zero_stage=0", "!tp", "!pp", "!cp", "!ep", "recompute=none"]))
        again = split_over_groups(question.task, question.clusters[0], question.aim, pins)
        if again is None or (strategy := together(again)) is None:
            return None
        mixed = again
    return Shared(mixed=mixed, strategy=strategy) if mixed.step_s < even_s else None


def _unlike(question: Question) -> tuple[Mixed | None, Relay | None]:
    """Uneven shares and uneven stages, where the only cluster asked about has unlike groups."""
    if len(question.clusters) != 1 or not question.clusters[0].is_heterogeneous:
        return None, None
    asked = question.task, question.clusters[0], question.aim, question.pins
    return split_over_groups(*asked), pipeline_over_groups(*asked)


def check(question: Question, strategy: Strategy) -> Answer:
    """A strategy made by hand: refused with every reason, or priced and explained like a found one."""
    cluster = question.clusters[0]
    facts = question.facts(cluster)
    refused = refusals_of(strategy, facts)
    if refused:
        reasons = "\n  ".join(r.message + (f"; {r.advice}" if r.advice else "") for r in refused)
        raise InvalidInputError(f"the strategy {describe(strategy)} cannot be:\n  {reasons}", hint=refused[0].advice)
    choice = price(question.task, cluster, strategy)
    room = choice.capacity_bytes * (1.0 - question.aim.headroom_share)
    if choice.occupied_bytes > room:
        text = too_large_text(choice, question.task, facts, room)
        raise DoesNotFitError(f"{describe(strategy)} does not fit: {text}", hint="edit the plan, or search again")
    _check_host(question, choice)
    result = SearchResult(
        aim=question.aim, ranking=(choice,), front=(choice,), nearest=(), n_costed=1, n_timed=1, seconds=0.0
    )
    explanation = explain_choice(choice, question.task, facts, question.aim.headroom_share)
    return Answer(question=question, result=result, explanation=explanation)


def _check_host(question: Question, choice: Choice) -> None:
    """DoesNotFitError when what is offloaded is more than a node's memory."""
    task = question.task
    needed = host_bytes(task.model, task.workload, choice.strategy, task.stack)
    left = float(host_room(choice.strategy, needed, choice.cluster.groups))
    if left < 0.0:
        raise DoesNotFitError(
            f"{describe(choice.strategy)} offloads {format_bytes(-left)} more to a node than its memory holds",
            hint="offload less, or shard states over more devices",
        )


def nothing_fits(question: Question, result: SearchResult) -> DoesNotFitError:
    """The error when no candidate keeps the limits: what comes nearest, and what would do, ordered by cost."""
    nearest, n_steps = result.nearest[0], result.aim.n_steps
    if result.n_timed:
        offers = [f"{describe(c.strategy)} on {c.cluster.name}: {_offer(c, n_steps)}" for c in result.nearest[:3]]
        return DoesNotFitError(
            f"none of {result.n_timed:,} strategies that fit keeps {_limits(result.aim)}; the closest offers are\n  "
            + "\n  ".join(offers),
            hint="raise the limit to one of these, or allow more or other devices (--on any)",
        )
    _check_host(question, nearest)
    free = nearest.capacity_bytes * (1.0 - result.aim.headroom_share)
    over = format_bytes(nearest.occupied_bytes - free)
    found = remedies(question.task, nearest.cluster, result.aim)
    told = "".join(f"\n  {remedy_text(remedy, n_steps)}" for remedy in found)
    return DoesNotFitError(
        f"none of {result.n_costed:,} strategies fits: the least, {describe(nearest.strategy)}, needs "
        f"{format_bytes(nearest.occupied_bytes)} on a device of {format_bytes(nearest.capacity_bytes)}, {over} over"
        + (f"; what would fit, cheapest first:{told}" if told else ""),
        hint=f"plan for {found[0].what}" if found else "a smaller model, sequence or precision",
    )


def remedy_text(remedy: Remedy, n_steps: float | None) -> str:
    """One way out, with what it costs."""
    return f"{remedy.what}: {describe(remedy.choice.strategy)}, {_offer(remedy.choice, n_steps)}"


def _offer(choice: Choice, n_steps: float | None) -> str:
    """Time and money, of the whole job where its steps are known."""
    times, each = (n_steps, "") if n_steps else (1.0, " a step")
    money = "" if choice.dollars_per_step is None else f" and {format_dollars(choice.dollars_per_step * times)}"
    return f"{format_seconds(choice.step_s * times)}{money}{each}"


def _limits(aim: Aim) -> str:
    limits = []
    if aim.deadline_s is not None:
        limits.append(f"the deadline of {format_seconds(aim.deadline_s)}")
    if aim.budget_dollars is not None:
        limits.append(f"the budget of {format_dollars(aim.budget_dollars)}")
    return " and ".join(limits) or "the limits"


def unpriced(clusters: Iterable[Cluster]) -> tuple[str, ...]:
    """Names of the clusters for which nobody named a price."""
    return tuple(c.name for c in clusters if any(group.dollars_per_device_hour is None for group in c.groups))
