"""A plan as plain values, for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from trainwright.plan.answer import Answer
from trainwright.plan.choice import Choice, describe
from trainwright.plan.groups import Mixed
from trainwright.plan.relay import Relay


def plan_json(answer: Answer) -> dict[str, Any]:
    """The answer in base units: ranking, front, why, directions, and what was not looked at."""
    result, explanation, job = answer.result, answer.explanation, answer.question.subject.job
    return {
        "model": answer.question.subject.model.name,
        "global_batch": job.global_batch,
        "seq": job.seq,
        "stack": answer.question.stack,
        "aim": asdict(result.aim),
        "ranking": [choice_json(choice, result.aim.n_steps) for choice in result.ranking],
        "front": [choice_json(choice, result.aim.n_steps) for choice in result.front],
        "why": list(explanation.sentences),
        "fits_probability": explanation.fits_probability,
        "wins_probability": explanation.wins_probability,
        "ties": explanation.ties,
        "directions": [asdict(direction) for direction in explanation.directions],
        "mixed": None if answer.mixed is None else mixed_json(answer.mixed, result.aim.n_steps),
        "relay": None if answer.relay is None else relay_json(answer.relay),
        "n_costed": result.n_costed,
        "n_timed": result.n_timed,
        "search_s": result.seconds,
        "not_looked_at": list(result.left_out),
        "empty": list(result.empty),
        "notes": list(answer.question.subject.notes),
    }


def mixed_json(mixed: Mixed, n_steps: float | None) -> dict[str, Any]:
    """Shares of unlike groups."""
    return {
        "step_s": mixed.step_s,
        "exchange_s": mixed.exchange_s,
        "alone_s": {name: s if math.isfinite(s) else None for name, s in mixed.alone_s.items()},
        "parts": [{"samples": part.samples, **choice_json(part.choice, n_steps)} for part in mixed.parts],
    }


def relay_json(relay: Relay) -> dict[str, Any]:
    """One pipeline through unlike groups."""
    sections = [
        {
            "device": section.group.device.name,
            "n_devices": section.group.n_devices,
            "first_stage": section.first,
            "strategy": asdict(section.strategy),
            "stage_s": relay.cost.stage_s[section.first : section.last].tolist(),
            "stage_bytes": relay.cost.stage_bytes[section.first : section.last].tolist(),
        }
        for section in relay.sections
    ]
    return {"step_s": relay.step_s, "sections": sections}


def choice_json(choice: Choice, n_steps: float | None) -> dict[str, Any]:
    """One choice: strategy, figures of a step and of the whole job, parts of time and memory."""
    estimate, dollars = choice.estimate, choice.dollars_per_step
    step, memory = estimate.step_interval, estimate.memory_interval
    return {
        "label": describe(choice.strategy),
        "cluster": choice.cluster.name,
        "n_devices": int(choice.strategy.n_devices),
        "strategy": asdict(choice.strategy),
        "step_s": choice.step_s,
        "step_interval_s": None if step is None else [float(step.low), float(step.high)],
        "tokens_per_s": float(estimate.tokens_per_s),
        "peak_bytes": choice.peak_bytes,
        "occupied_bytes": choice.occupied_bytes,
        "memory_interval_bytes": None if memory is None else [float(memory.low), float(memory.high)],
        "capacity_bytes": choice.capacity_bytes,
        "fits_probability": choice.fit_probability,
        "dollars_per_step": dollars,
        "job_s": None if n_steps is None else choice.step_s * n_steps,
        "job_dollars": None if n_steps is None or dollars is None else dollars * n_steps,
        "time": {name: float(seconds) for name, seconds in estimate.time.items()},
        "hidden": {name: float(seconds) for name, seconds in estimate.hidden.items()},
        "memory": {name: float(size) for name, size in estimate.memory.items()},
        "stage_memory": [{name: float(size) for name, size in stage.items()} for stage in estimate.stage_memory],
    }
