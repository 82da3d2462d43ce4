"""A search's answer as the file that a run carries out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from trainwright.errors import DoesNotFitError
from trainwright.hardware.cluster import Cluster
from trainwright.jobs.strategy import Strategy
from trainwright.plan.choice import Choice, describe
from trainwright.plan.groups import Mixed
from trainwright.plan.search import SearchResult
from trainwright.records.plan import Candidate, PlanRecord
from trainwright.units import format_bytes


def plan_record(
    result: SearchResult, job: Mapping[str, Any], model: Mapping[str, Any], stack: str, why: tuple[str, ...]
) -> PlanRecord:
    """The best of a search, with the rest of its ranking beside it.

    ``job`` and ``model`` are the job and the Hugging Face config as plain values. Raises DoesNotFitError when the
    search found nothing within its limits.
    """
    best = result.best
    if best is None:
        raise does_not_fit(result)
    group = best.cluster.groups[0]
    return PlanRecord(
        job=dict(job),
        model=dict(model),
        cluster={
            "name": best.cluster.name,
            "device": group.device.name,
            "n_devices": best.cluster.n_devices,
            "source": group.device.source,
        },
        device_type="cpu" if group.device.kind == "cpu" else "cuda",
        stack=stack,
        chosen=candidate(best),
        others=tuple(candidate(choice) for choice in result.ranking[1:]),
        why=why,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def with_shares(record: PlanRecord, mixed: Mixed, strategy: Strategy) -> PlanRecord:
    """The record with unlike replicas in place of the even split, which becomes the first of the others.

    The prediction is that of the group that takes the longest, with the gradients that cross between groups.
    """
    slowest = candidate(max((part.choice for part in mixed.parts), key=lambda choice: choice.step_s))
    scale = mixed.step_s / slowest.step_s
    n_samples = sum(part.samples for part in mixed.parts)
    even = record.chosen
    chosen = replace(
        slowest,
        label=f"{strategy.n_devices} of {len(mixed.parts)} kinds, {describe(strategy)}, {strategy.precision}",
        strategy={name: _plain(value) for name, value in asdict(strategy).items()},
        n_processes=int(strategy.n_devices),
        threads_per_process=min(part.choice.cluster.groups[0].device.n_threads for part in mixed.parts),
        step_s=mixed.step_s,
        step_low_s=slowest.step_low_s * scale,
        step_high_s=slowest.step_high_s * scale,
        peak_bytes=max(part.choice.peak_bytes for part in mixed.parts),
        tokens_per_s=even.tokens_per_s * even.step_s / mixed.step_s,
        time={**slowest.time, "dp_communication": slowest.time.get("dp_communication", 0.0) + mixed.exchange_s},
        note=", ".join(f"{part.samples} of {n_samples} samples on {part.choice.cluster.name}" for part in mixed.parts),
    )
    return replace(record, chosen=chosen, others=(even, *record.others))


def does_not_fit(result: SearchResult) -> DoesNotFitError:
    """What to say when nothing keeps the limits: the nearest thing, and by how much it misses."""
    nearest = result.nearest[0]
    return DoesNotFitError(
        f"nothing fits: the least is {format_bytes(nearest.peak_bytes)} per device "
        f"({label(nearest.cluster, nearest.strategy)}), {format_bytes(nearest.capacity_bytes)} available",
        hint="use a smaller global batch, sequence or model, or more devices",
    )


def candidate(choice: Choice) -> Candidate:
    """A choice as plain values."""
    estimate, interval = choice.estimate, choice.estimate.step_interval
    strategy = choice.strategy
    peak = choice.cluster.groups[0].device.flop_per_s.get(strategy.precision)
    return Candidate(
        label=label(choice.cluster, strategy),
        strategy={name: _plain(value) for name, value in asdict(strategy).items()},
        n_processes=int(strategy.n_devices),
        threads_per_process=choice.cluster.groups[0].device.n_threads,
        step_s=choice.step_s,
        step_low_s=choice.step_s if interval is None else float(interval.low),
        step_high_s=choice.step_s if interval is None else float(interval.high),
        peak_bytes=choice.peak_bytes,
        tokens_per_s=float(estimate.tokens_per_s),
        time={name: float(value) for name, value in estimate.time.items()},
        memory={name: float(value) for name, value in estimate.memory.items()},
        ideal_s=None if peak is None else float(estimate.model_flop) / peak,
        hidden={name: float(value) for name, value in estimate.hidden.items()},
    )


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.item() if hasattr(value, "item") else value


def label(cluster: Cluster, strategy: Strategy) -> str:
    """Where and how, in a few words: ``2 processes x 1 thread, dp2 mb4, bf16``."""
    device = cluster.groups[0].device
    words = f"{describe(strategy)}, {strategy.precision}"
    if device.kind != "cpu":
        return f"{strategy.n_devices} x {device.name}, {words}"
    return f"{_many(int(strategy.n_devices), 'process', 'es')} x {_many(device.n_threads, 'thread', 's')}, {words}"


def _many(count: int, noun: str, plural: str) -> str:
    return f"{count} {noun}{plural if count != 1 else ''}"
