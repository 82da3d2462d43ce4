"""The whole answer to "how should I serve this": search, a table by batch, why, and what would do if nothing does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NoReturn

from trainwright.cost.serving.formats import weight_format
from trainwright.cost.serving.point import ladder
from trainwright.cost.serving.replica import Replica
from trainwright.cost.serving.room import room
from trainwright.errors import DoesNotFitError, InvalidInputError
from trainwright.plan.pins import pinned_values
from trainwright.plan.serving.explain import Change, changes, sentences
from trainwright.plan.serving.question import Offer, ServingQuestion
from trainwright.plan.serving.search import ServingResult, fitting, ladder_of, search
from trainwright.plan.serving.space import kv_names, legal, replicas, weight_names
from trainwright.units import format_bytes, format_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingAnswer:
    """A question with its offers, the winner's points by batch, why, and what each change of the winner would do."""

    question: ServingQuestion
    result: ServingResult
    by_batch: tuple[Offer, ...]
    sentences: tuple[str, ...]
    changes: tuple[Change, ...]

    @property
    def best(self) -> Offer:
        """The winner."""
        return self.result.ranking[0]


def answer_serving(question: ServingQuestion) -> ServingAnswer:
    """Search and explain.

    Raises InvalidInputError where the model does not generate or nothing is legal, DoesNotFitError where nothing fits
    or keeps the limits, with the nearest that would.
    """
    _check_model(question)
    result = search(question)
    if not result.ranking:
        _explain_nothing(question, result)
    best = result.ranking[0]
    one = fitting(question, best.cluster, best.replica, best.room)
    assert one is not None  # it was found fitting
    table = tuple(ladder_of(question, one, best.n_replicas, ladder(best.most)))
    return ServingAnswer(
        question=question,
        result=result,
        by_batch=table,
        sentences=sentences(question, result),
        changes=changes(question, best),
    )


def _check_model(question: ServingQuestion) -> None:
    model, longest = question.model, question.serving.longest
    if not question.attentions or not all(op.causal for op in question.attentions) or model.unit != "tokens":
        raise InvalidInputError(
            f"{model.name} does not generate text token by token", hint="serve a decoder, such as llama-3-8b"
        )
    if longest > model.max_seq:
        raise InvalidInputError(
            f"requests of {longest} tokens are longer than the {model.max_seq} that {model.name} was made for",
            hint="shorten prompt and output, or name a model with a longer context",
        )


def _explain_nothing(question: ServingQuestion, result: ServingResult) -> NoReturn:
    if result.nearest:
        raise _limits_missed(question, result)
    if not result.too_large:
        raise _nothing_legal(question)
    _, replica, held = min(result.too_large, key=lambda each: -each[2].cache)
    longest = question.serving.longest
    need = f"{format_bytes(held.least)} before any cache, of {format_bytes(held.capacity)} that the engine may use"
    raise DoesNotFitError(
        f"none of {result.n_replicas} replicas of {question.model.name} holds one request of {longest} tokens: the "
        f"nearest, {replica.describe()}, needs {need}",
        hint=_what_would_fit(question, replica),
    )


def _what_would_fit(question: ServingQuestion, nearest: Replica) -> str:
    """Narrower weights on the same devices, or as many devices as 16 bits need."""
    for name in ("fp8", "int8", "int4"):
        if name not in question.stack.weights:
            continue
        pinned = replace(question, serving=replace(question.serving, weights=name), pins=())
        groups = [group for cluster in question.clusters for group in cluster.groups]
        most = max((room(one).cache for group in groups for one in replicas(pinned, group)), default=0.0)
        if most > 0:
            return f"--pin weights={name} fits, with {format_bytes(most)} for the cache"
    needed = -(-room(nearest).least * nearest.n_devices // max(room(nearest).capacity, 1.0))
    return f"about {int(needed) + 1} devices of {nearest.device.name} would hold the weights in {nearest.stored.name}"


def _nothing_legal(question: ServingQuestion) -> InvalidInputError:
    """Why not one replica is legal: formats the engine does not know, pins, or what the device cannot multiply."""
    for axis, stated, known in (
        ("weights", question.serving.weights, question.stack.weights),
        ("kv", question.serving.kv, question.stack.kv),
    ):
        names = (stated,) if stated else pinned_values(question.pins, axis) or ()
        if names and not set(names) & set(known):
            return InvalidInputError(
                f"{question.stack.name} knows no {axis} in {' or '.join(map(str, names))}",
                hint=f"it knows {', '.join(known)}; other engines: --stack vllm, llama.cpp, ...",
            )
    if question.pins:
        pins = " and ".join(repr(pin.text) for pin in question.pins)
        reasons = [found.message for one in _as_pinned(question) if (found := legal(one))]
        told = f": {reasons[0]}" if reasons else ""
        return InvalidInputError(f"the pins {pins} leave no legal replica{told}", hint="drop one of the pins")
    asked = question.serving.weights or "16 bits"
    return InvalidInputError(
        f"{question.stack.name} has no way to serve {question.model.name} in {asked} here",
        hint=f"it takes weights in {', '.join(question.stack.weights)}",
    )


def _as_pinned(question: ServingQuestion) -> list[Replica]:
    """The pinned axes on each group, legal or not, for the reason."""
    counts = {pin.axis: int(pin.values[0]) for pin in question.pins if pin.axis in ("tp", "pp", "ep") and pin.keep}
    groups = [group for cluster in question.clusters for group in cluster.groups]
    return [
        Replica(model=question.model, stack=question.stack, group=group, stored=weight_format(stored), kv=kv, **counts)
        for group in groups
        for stored in weight_names(question, group)[:1]
        for kv in kv_names(question, group, stored)[:1]
    ]


def _limits_missed(question: ServingQuestion, result: ServingResult) -> DoesNotFitError:
    """The closest offers, each with what it reaches, and the devices a rate would need."""
    lines = [f"{one.describe()} on {one.cluster}: {_reached(one)}" for one in result.nearest[:3]]
    nearest = result.nearest[0]
    limits = ", ".join(f"{name} {format_seconds(value)}" for name, value in question.serving.limits.items())
    rate = "" if question.serving.rate is None else f"{question.serving.rate:g} requests/s"
    asked = " within ".join(part for part in (rate, limits) if part)
    hint = "raise the limit, or allow other devices (--on any) or weights (--pin weights=fp8|int4)"
    if "rate" in nearest.missed and question.serving.rate is not None:
        needed = int(-(-question.serving.rate * 1.2 * nearest.n_devices // nearest.requests_per_s))
        hint = f"about {needed} devices like these would carry {question.serving.rate:g} requests/s"
    return DoesNotFitError(
        f"none of {len(result.nearest)} replicas that fit keeps {asked}; the closest are\n  " + "\n  ".join(lines),
        hint=hint,
    )


def _reached(one: Offer) -> str:
    if "rate" in one.missed:
        return f"carries {one.requests_per_s:.3g} requests/s at most"
    times = {"ttft": one.ttft_s, "tpot": one.tpot_s, "latency": one.latency_s}
    return ", ".join(f"{name} {format_seconds(value)}" for name, value in times.items())
