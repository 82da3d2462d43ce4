"""A serving plan as plain values, for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from trainwright.cost.serving.corrections import interval_factors
from trainwright.plan.serving.answer import ServingAnswer
from trainwright.plan.serving.question import Offer


def serving_json(answer: ServingAnswer) -> dict[str, Any]:
    """The answer in base units: offers, the winner's points by batch, front, why, changes.

    ``time_interval``: by what predicted times are multiplied for the ends of their 80 % interval.
    """
    question, result = answer.question, answer.result
    return {
        "objective": "serve",
        "model": question.model.name,
        "stack": question.stack.name,
        "goal": question.goal,
        "serving": asdict(question.serving),
        "ranking": [offer_json(one) for one in result.ranking[: question.n_shown]],
        "by_batch": [offer_json(one) for one in answer.by_batch],
        "front": [offer_json(one) for one in result.front],
        "why": list(answer.sentences),
        "changes": [
            {
                "what": change.what,
                "refused": change.refused,
                "offer": None if change.offer is None else offer_json(change.offer),
            }
            for change in answer.changes
        ],
        "n_replicas": result.n_replicas,
        "n_points": result.n_points,
        "search_s": result.seconds,
        "time_interval": list(interval_factors()),
        "not_looked_at": list(result.left_out),
    }


def offer_json(one: Offer) -> dict[str, Any]:
    """One offer: its replicas, its times, what it yields and costs; rates are of all replicas."""
    replica = one.replica
    return {
        "cluster": one.cluster,
        "device": replica.device.name,
        "n_devices": one.n_devices,
        "replicas": one.n_replicas,
        "tp": replica.tp,
        "pp": replica.pp,
        "ep": replica.ep,
        "weights": replica.stored.name,
        "kv": replica.kv,
        "batch": one.batch,
        "most_sequences": one.most,
        "queue_s": _finite(one.queue_s),
        "ttft_s": _finite(one.ttft_s),
        "tpot_s": one.tpot_s,
        "latency_s": _finite(one.latency_s),
        "parts_s": dict(one.parts),
        "requests_per_s": one.requests_per_s,
        "tokens_per_s": one.tokens_per_s,
        "dollars_per_hour": one.dollars_per_hour,
        "dollars_per_million_tokens": one.dollars_per_million,
        "joules_per_token": one.joules_per_token,
        "memory_bytes": asdict(one.room),
        "missed": list(one.missed),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
