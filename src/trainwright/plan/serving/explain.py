"""Why the winner wins: what takes its time, what the next loses, and what each single change would do."""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.cost.serving.corrections import interval_factors
from trainwright.cost.serving.formats import multiply_dtype
from trainwright.cost.serving.replica import Replica
from trainwright.cost.serving.room import Room, room
from trainwright.errors import InvalidInputError
from trainwright.plan.serving.question import Offer, ServingQuestion
from trainwright.plan.serving.search import ServingResult, fitting, operating
from trainwright.plan.serving.space import changed, legal
from trainwright.units import format_bytes, format_dollars, format_seconds

MEANINGS = {
    "weights": "reading and multiplying the weights",
    "head": "logits over the vocabulary",
    "attention": "attention and reading the cache",
    "stream": "norms, activations and copies",
    "communication": "exchanges between devices",
    "dispatch": "starting kernels",
    "host": "the engine's host work",
    "prompts": "other requests' prompts",
}
"""The parts of a token's time, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of the winner: what it would give, or why it cannot be."""

    what: str
    offer: Offer | None
    refused: str | None


def sentences(question: ServingQuestion, result: ServingResult) -> tuple[str, ...]:
    """What limits the winner, its memory, the runner-up, how sure."""
    best = result.ranking[0]
    parts = sorted(best.parts.items(), key=lambda item: -item[1])
    total = sum(best.parts.values())
    shares = ", ".join(f"{MEANINGS[name]} {100 * seconds / total:.0f} %" for name, seconds in parts[:3])
    low, high = interval_factors()
    told = [
        f"a token takes {format_seconds(best.tpot_s)}: {shares}",
        _memory(best),
        f"of machines and engines nobody fitted, 80 % took {low:.2f} to {high:.2f} times what was predicted",
    ]
    if best.replica.stored.bits < 16:
        told.append(
            f"{best.replica.stored.name} weights change the answers of a model made in 16 bits: evaluate it first"
        )
    if question.serving.rate is not None:
        room_left = best.most / max(best.batch, 1e-9)
        told.append(
            f"a request waits {format_seconds(best.queue_s)} on average; {best.batch:.1f} are in flight a replica, "
            f"{room_left:.1f} times fewer than fit"
        )
    if len(result.ranking) > 1:
        told.append(_runner_up(question, best, result.ranking[1]))
    return tuple(told)


def _memory(best: Offer) -> str:
    held = best.room
    return (
        f"a device holds {format_bytes(held.weights)} of weights, {format_bytes(held.activations + held.reserve)} for "
        f"passes and the engine, and {format_bytes(held.cache)} of cache: {best.most:.0f} sequences a replica"
    )


def _runner_up(question: ServingQuestion, best: Offer, second: Offer) -> str:
    at_rate = question.serving.rate is not None
    ours, theirs = (abs(one.figure(question.goal, at_rate=at_rate)) for one in (best, second))
    worse = max(ours, theirs) / max(min(ours, theirs), 1e-12) - 1.0
    what = {"cheapest": "a token costs", "fastest": "it is", "least-memory": "it takes"}[question.goal]
    than = {"cheapest": "more", "fastest": "slower", "least-memory": "more memory"}[question.goal]
    return f"the runner-up is {second.describe()} on {second.cluster}: {what} {100 * worse:.1f} % {than}"


def changes(question: ServingQuestion, best: Offer) -> tuple[Change, ...]:
    """Each axis moved by one step, everything else as the winner has it."""
    replica = best.replica
    moves: list[tuple[str, dict[str, int | str]]] = []
    for axis in ("tp", "pp", "ep"):
        degree = getattr(replica, axis)
        moves += [(f"{axis} {to}", {axis: to}) for to in (degree // 2, degree * 2) if to >= 1]
    for name in ("bf16", "fp8", "int8", "int4"):
        if name != replica.stored.name:
            moves.append((f"weights {name}", {"weights": name}))
    if replica.kv != "fp8":
        moves.append(("cache fp8", {"kv": "fp8"}))
    return tuple(_change(question, best, what, axes) for what, axes in moves)


def _change(question: ServingQuestion, best: Offer, what: str, axes: dict[str, int | str]) -> Change:
    moved = changed(best.replica, **axes)
    refused = legal(moved)
    if refused is not None:
        return Change(what=what, offer=None, refused=f"{refused.message} ({refused.advice})")
    reason = _unable(moved)
    if reason is not None:
        return Change(what=what, offer=None, refused=reason)
    held = room(moved)
    one = fitting(question, best.cluster, moved, held)
    if one is None:
        return Change(what=what, offer=None, refused=_too_large(question, held))
    found = operating(question, one)[0]
    if found.missed:
        return Change(what=what, offer=found, refused=f"misses {' and '.join(found.missed)}")
    return Change(what=what, offer=found, refused=None)


def _unable(replica: Replica) -> str | None:
    """Why the device cannot multiply these weights, if it cannot."""
    try:
        multiply_dtype(replica.stored, replica.device)
    except InvalidInputError as error:
        return str(error)
    return None


def _too_large(question: ServingQuestion, held: Room) -> str:
    if held.cache <= 0:
        return f"{format_bytes(-held.cache)} over"
    return f"{format_bytes(held.cache)} of cache do not hold a request of {question.serving.longest} tokens"


def money(one: Offer) -> str:
    """Dollars a million tokens, or device-seconds a thousand where nobody named a price."""
    if one.dollars_per_million is not None:
        return format_dollars(one.dollars_per_million)
    return f"{1000 * one.n_devices / one.tokens_per_s:.3g} s"
