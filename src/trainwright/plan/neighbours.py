"""Strategies one step away from another: one axis changed, the data-parallel degree making up for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from trainwright.jobs.strategy import Strategy
from trainwright.plan.facts import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """``change``: what is different, in words; ``axis``: which direction it lies in."""

    axis: str
    change: str
    strategy: Strategy


def neighbours(strategy: Strategy, facts: Facts) -> Iterator[Neighbour]:
    """Every single change worth telling about: degrees doubled and halved, other choices, in the order of the axes."""
    yield from _degrees(strategy)
    yield from _micro_batches(strategy)
    yield from _states(strategy)
    yield from _choices(strategy, facts)


def _degrees(strategy: Strategy) -> Iterator[Neighbour]:
    """tp, pp and cp doubled or halved at the expense or for the good of dp."""
    for axis in ("tp", "pp", "cp"):
        degree = int(getattr(strategy, axis))
        if strategy.dp % 2 == 0:
            yield _changed(strategy, axis, f"{axis} {2 * degree}", **{axis: 2 * degree, "dp": int(strategy.dp) // 2})
        if degree % 2 == 0:
            yield _changed(strategy, axis, f"{axis} {degree // 2}", **{axis: degree // 2, "dp": int(strategy.dp) * 2})


def _changed(strategy: Strategy, axis: str, change: str, **fields: object) -> Neighbour:
    """The strategy with some fields changed, and what hangs on them put in order."""
    new: Strategy = replace(strategy, **fields)  # type: ignore[arg-type]
    if new.tp == 1:
        new = replace(new, sequence_parallel=False)
    if new.pp == 1 or (new.schedule == "interleaved" and new.virtual_stages == 1):
        new = replace(new, schedule="1f1b", virtual_stages=1)
    if new.zero_stage == 0 or (new.shard is not None and (new.dp % new.shard or strategy.shard == strategy.dp)):
        new = replace(new, shard=None)
    if strategy.stages is not None and new.pp != strategy.pp:
        new = replace(new, stages=None)
    return Neighbour(axis=axis, change=change, strategy=new)


def _micro_batches(strategy: Strategy) -> Iterator[Neighbour]:
    size = int(strategy.micro_batch)
    yield _changed(strategy, "micro_batch", f"micro-batch {2 * size}", micro_batch=2 * size)
    if size > 1:
        half = size // 2 if size % 2 == 0 else 1
        yield _changed(strategy, "micro_batch", f"micro-batch {half}", micro_batch=half)


def _states(strategy: Strategy) -> Iterator[Neighbour]:
    if strategy.dp * strategy.cp > 1:
        for stage in (0, 1, 2, 3):
            if stage != strategy.zero_stage:
                parameters = strategy.offload == "parameters" and stage < 3
                offload = "optimizer" if parameters else strategy.offload
                name = f"ZeRO-{stage}" if stage else "no ZeRO"
                yield _changed(strategy, "zero_stage", name, zero_stage=stage, offload=offload)
    if strategy.offload == "none":
        yield _changed(strategy, "offload", "optimizer states offloaded", offload="optimizer")
    else:
        yield _changed(strategy, "offload", "nothing offloaded", offload="none")


def _choices(strategy: Strategy, facts: Facts) -> Iterator[Neighbour]:
    for recompute in ("none", "selective", "full"):
        if (recompute, 1) != (strategy.recompute, strategy.recompute_every):
            name = "no recomputation" if recompute == "none" else f"{recompute} recomputation"
            yield _changed(strategy, "recompute", name, recompute=recompute, recompute_every=1)
    if strategy.tp > 1:
        state = "without" if strategy.sequence_parallel else "with"
        yield _changed(strategy, "sequence_parallel", f"{state} sp", sequence_parallel=not strategy.sequence_parallel)
    if strategy.pp > 1:
        for schedule in ("1f1b", "zero_bubble", "interleaved"):
            if schedule != strategy.schedule:
                virtual = 2 if schedule == "interleaved" else 1
                name = f"schedule {schedule.replace('_', '-')}"
                yield _changed(strategy, "schedule", name, schedule=schedule, virtual_stages=virtual)
    for precision in facts.precisions:
        usual = ("bf16", "fp8", "fp32") if facts.is_cpu else ("bf16", "fp8")
        if precision in usual and precision != strategy.precision:
            yield _changed(strategy, "precision", precision, precision=precision)
