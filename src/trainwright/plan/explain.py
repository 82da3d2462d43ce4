"""Why this plan: what limits it, what comes next, what every other direction would lose or break."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from trainwright.plan.aim import Goal
from trainwright.plan.chance import beats
from trainwright.plan.choice import Choice, describe
from trainwright.plan.costed import Task
from trainwright.plan.facts import Facts
from trainwright.plan.legal import refusals_of
from trainwright.plan.neighbours import Neighbour, neighbours
from trainwright.plan.price import price
from trainwright.plan.search import SearchResult
from trainwright.units import format_bytes, format_seconds

Verdict = Literal["refused", "too large", "slower", "tie", "faster"]

SURE = 0.8
"""How likely one must really be the faster before two are no longer called a tie."""

WORSE: dict[Goal, str] = {"fastest": "slower", "cheapest": "dearer", "least-memory": "larger"}

COMPUTE = ("forward", "backward", "recompute", "head_loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """One change of the winner: what became of it, told in numbers."""

    axis: str
    change: str
    verdict: Verdict
    text: str
    step_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """``limits``: what the step's time goes to; ``directions``: every single change and what it costs.

    ``ties``: how many of the ranking cannot be told from the winner; ``wins_probability``: that the winner really
    beats the runner-up; ``fits_probability``: that it fits, None without an interval.
    """

    limits: str
    memory: str
    runner_up: str
    ties: int
    wins_probability: float | None
    fits_probability: float | None
    directions: tuple[Direction, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """Limits, memory and runner-up, one sentence each."""
        return tuple(text for text in (self.limits, self.memory, self.runner_up) if text)


def explain(result: SearchResult, task: Task, facts: Facts) -> Explanation:
    """Explain the winner of a search that found one."""
    best, *others = result.ranking
    alone = explain_choice(best, task, facts, result.aim.headroom_share)
    if not others:
        return alone
    goal = result.aim.goal
    wins = [beats(best.figure(goal), other.figure(goal)) for other in others]
    return replace(
        alone,
        runner_up=_runner_up(best, others[0], wins[0], goal),
        ties=sum(chance < SURE for chance in wins),
        wins_probability=wins[0],
    )


def explain_choice(choice: Choice, task: Task, facts: Facts, headroom_share: float) -> Explanation:
    """Explain one strategy on its own, as one made by hand."""
    return Explanation(
        limits=limits_text(choice),
        memory=memory_text(choice),
        runner_up="",
        ties=0,
        wins_probability=None,
        fits_probability=choice.fit_probability,
        directions=tuple(directions(choice, task, facts, headroom_share)),
    )


def limits_text(choice: Choice) -> str:
    """Where the step's seconds go, largest first, parts above 2 %.

    A step is limited by its largest part: compute, one kind of communication, the bubble, the optimizer, dispatch.
    """
    shares = time_shares(choice)
    first, share = next(iter(shares.items()))
    rest = ", ".join(f"{name} {100 * part:.0f} %" for name, part in list(shares.items())[1:] if part >= 0.02)
    return f"limited by {first}: {100 * share:.0f} % of the step" + (f"; then {rest}" if rest else "")


def time_shares(choice: Choice) -> dict[str, float]:
    """Share of the step by what limits it, largest first; forward, backward, loss and recomputation are compute."""
    parts = {name: float(seconds) for name, seconds in choice.estimate.time.items()}
    shares = {"compute": sum(parts.get(name, 0.0) for name in COMPUTE)}
    shares |= {name.replace("_", " "): seconds for name, seconds in parts.items() if name not in COMPUTE}
    return dict(sorted(((name, s / choice.step_s) for name, s in shares.items()), key=lambda item: -item[1]))


def memory_text(choice: Choice) -> str:
    """How full the fullest device is, and with what."""
    parts = sorted(choice.estimate.memory.items(), key=lambda item: -float(item[1]))
    named = ", ".join(f"{name} {format_bytes(float(size))}" for name, size in parts[:3] if float(size) > 0)
    free = choice.capacity_bytes - choice.occupied_bytes
    return (
        f"{format_bytes(choice.occupied_bytes)} of {format_bytes(choice.capacity_bytes)} on the fullest device "
        f"({named}); {format_bytes(free)} free"
    )


def _runner_up(best: Choice, second: Choice, wins: float, goal: Goal) -> str:
    loss = 100 * (second.figure(goal) / best.figure(goal) - 1.0)
    where = "" if second.cluster.name == best.cluster.name else f" on {second.cluster.name}"
    told = f"runner-up {describe(second.strategy)}{where}: {loss:.1f} % {WORSE[goal]}"
    return f"{told}, " + ("a tie within the error" if wins < SURE else f"{100 * wins:.0f} % sure")


def directions(best: Choice, task: Task, facts: Facts, headroom_share: float) -> Iterator[Direction]:
    """Every neighbour of the winner, judged."""
    for neighbour in neighbours(best.strategy, facts):
        yield _judge(neighbour, best, task, facts, headroom_share)


def _judge(neighbour: Neighbour, best: Choice, task: Task, facts: Facts, headroom_share: float) -> Direction:
    refused = refusals_of(neighbour.strategy, facts)
    if refused:
        advice = f"; {refused[0].advice}" if refused[0].advice else ""
        return _direction(neighbour, "refused", refused[0].message + advice)
    choice = price(task, best.cluster, neighbour.strategy)
    room = best.capacity_bytes * (1.0 - headroom_share)
    if choice.occupied_bytes > room:
        return _direction(neighbour, "too large", too_large_text(choice, task, facts, room), choice.step_s)
    change = 100 * (choice.step_s / best.step_s - 1.0)
    if beats(best.step_s, choice.step_s) < SURE and beats(choice.step_s, best.step_s) < SURE:
        return _direction(neighbour, "tie", f"{change:+.1f} %: a tie within the error", choice.step_s)
    if change < 0:
        why = "it changes the numbers, so pin it" if neighbour.axis == "precision" else "against the goal or a limit"
        return _direction(neighbour, "faster", f"{-change:.1f} % faster, but {why}", choice.step_s)
    return _direction(neighbour, "slower", f"{change:.1f} % slower: {_where_lost(best, choice)}", choice.step_s)


def _direction(neighbour: Neighbour, verdict: Verdict, text: str, step_s: float | None = None) -> Direction:
    return Direction(axis=neighbour.axis, change=neighbour.change, verdict=verdict, text=text, step_s=step_s)


def _where_lost(best: Choice, worse: Choice) -> str:
    """The part of the step that grows the most."""
    growth = {
        name: float(seconds) - float(best.estimate.time.get(name, 0.0)) for name, seconds in worse.estimate.time.items()
    }
    name = max(growth, key=lambda part: growth[part])
    return f"{name.replace('_', ' ')} +{format_seconds(growth[name])}"


def too_large_text(choice: Choice, task: Task, facts: Facts, room_bytes: float) -> str:
    """By how much it does not fit, on which stage, with what, and the nearest change that would fit."""
    over = choice.occupied_bytes - room_bytes
    stages = choice.estimate.stage_memory or (choice.estimate.memory,)
    sums = [sum(float(size) for size in stage.values()) for stage in stages]
    fullest = sums.index(max(sums))
    part = max(stages[fullest], key=lambda name: float(stages[fullest][name]))
    place = (
        f" on the {('first', 'middle', 'last')[fullest]} stage" if len(stages) == 3 and choice.strategy.pp > 1 else ""
    )
    told = f"{format_bytes(over)} over{place}, most of it {part}"
    remedy = nearest_remedy(choice, task, facts, room_bytes)
    if remedy is None:
        return told + "; no single change would make it fit"
    change, fitting = remedy
    free = format_bytes(room_bytes - fitting.occupied_bytes)
    return f"{told}; nearest change: {change} -> fits with {free} to spare"


def nearest_remedy(choice: Choice, task: Task, facts: Facts, room_bytes: float) -> tuple[str, Choice] | None:
    """The single change that makes it fit at the least cost in time."""
    fitting: list[tuple[str, Choice]] = []
    for neighbour in neighbours(choice.strategy, facts):
        if neighbour.axis == "precision" or refusals_of(neighbour.strategy, facts):
            continue
        changed = price(task, choice.cluster, neighbour.strategy)
        if changed.occupied_bytes <= room_bytes:
            fitting.append((neighbour.change, changed))
    return min(fitting, key=lambda item: item[1].step_s) if fitting else None
