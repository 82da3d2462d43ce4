"""One prediction, and how wrong predictions are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright.api.planning import HERE, USUAL_STACK, capturer

if TYPE_CHECKING:
    from trainwright.cost.validate import Validation
    from trainwright.hardware.cluster import Cluster
    from trainwright.plan.forecast import Forecast
    from trainwright.plan.serving.answer import ServingAnswer
    from trainwright.plan.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateOptions:
    """What the command line says, as text; None: the job's own, or the usual. ``on``: a cluster, or this machine.

    ``lora``, ``qlora``: the rank of updates beside frozen weights, in the training precision or in 4 bits.
    """

    on: str = HERE
    strategy: str = ""
    stack: str | None = None
    batch: int | None = None
    seq: int | None = None
    steps: int | None = None
    tokens: str | None = None
    optimizer: str | None = None
    prices: Path | None = None
    serve: str | None = None
    inputs: tuple[str, ...] = ()
    lora: int | None = None
    qlora: int | None = None


def estimate(subject: str, options: EstimateOptions, tell: Callable[[str], None]) -> Forecast | ServingAnswer:
    """What one strategy, or serving replica, would take for a job file, a model's name or a Hugging Face folder."""
    from trainwright.api.serving import serving_answer
    from trainwright.jobs.inputs import parse_input
    from trainwright.jobs.strategy_text import parse_strategy
    from trainwright.plan.forecast import doubts, forecast
    from trainwright.plan.subject import Asked, read_subject
    from trainwright.plan.views import view_note
    from trainwright.units import parse_count

    asked = Asked(
        batch=options.batch,
        seq=options.seq,
        steps=options.steps,
        tokens=None if options.tokens is None else parse_count(options.tokens),
        optimizer=options.optimizer,  # type: ignore[arg-type]  # click lets nothing else through
        serve=options.serve,
        inputs=tuple(parse_input(text) for text in options.inputs),
        lora_rank=_rank(options),
        quantized_base=options.qlora is not None,
    )
    found = read_subject(subject, asked, capturer((options.on,), tell))
    for note in found.notes:
        tell(f"assumed: {note}")
    if found.job.serving is not None:
        return serving_answer(found, (_cluster(options, None, tell),), options, (options.strategy,))
    strategy = parse_strategy(options.strategy) if options.strategy else found.strategy
    cluster = _cluster(options, 1 if strategy is None else int(strategy.n_devices), tell)
    if strategy is None:
        found = _shared(found, cluster.n_devices, tell)
        text = usual_strategy(found, cluster.n_devices)
        strategy = parse_strategy(text)
        tell(f"assumed: {text}, plain data parallel (--strategy)")
    for note in (*cluster.notes, *doubts(strategy, cluster)):
        tell(f"note: {note}")
    made = forecast(found, cluster, strategy, options.stack or USUAL_STACK)
    if judging := view_note(found, made.choice):
        tell(f"note: {judging}")
    return made


def _rank(options: EstimateOptions) -> int | None:
    """The rank of low-rank updates, where they alone are trained."""
    from trainwright.errors import InvalidInputError

    if options.lora is not None and options.qlora is not None:
        raise InvalidInputError(
            f"--lora {options.lora} and --qlora {options.qlora} are two ways of training", hint="leave one out"
        )
    rank = options.lora if options.qlora is None else options.qlora
    if rank is not None and (rank < 1 or options.serve is not None):
        raise InvalidInputError(
            f"updates of rank {rank} " + ("are none" if rank < 1 else "are trained, and --serve trains nothing"),
            hint="--lora 16 for a step of training, without --serve",
        )
    return rank


def _shared(found: Subject, n_devices: int, tell: Callable[[str], None]) -> Subject:
    """The subject with a batch that all devices share evenly, where nobody gave one."""
    batch = found.job.global_batch
    if not found.usual_batch or batch % n_devices == 0:
        return found
    batch = max(batch // n_devices, 1) * n_devices
    tell(f"assumed: rather {batch}, which {n_devices} devices share evenly (--batch)")
    return replace(found, job=replace(found.job, global_batch=batch))


def usual_strategy(found: Subject, n_devices: int) -> str:
    """Data parallel in the job's precision; images and samples at once: the memory of a step seldom limits those."""
    text = f"dp={n_devices}"
    if found.model.unit != "tokens" and found.job.global_batch % n_devices == 0:
        text += f",micro_batch={found.job.global_batch // n_devices}"
    return text if found.job.precision is None else f"{text},precision={found.job.precision}"


def _cluster(options: EstimateOptions, n_devices: int | None, tell: Callable[[str], None]) -> Cluster:
    """The cluster of ``--on``; of this machine, the way of cutting it into so many processes."""
    from trainwright.api.training import machine
    from trainwright.hardware.parse import parse_cluster
    from trainwright.hardware.prices import read_prices
    from trainwright.hardware.stored import stored_machine

    if options.on == HERE:
        here = machine(tell)
        return here.divisions[0] if n_devices is None else here.division(n_devices)
    profile = stored_machine(options.on)
    if profile is not None:
        return profile.divisions[0] if n_devices is None else profile.division(n_devices)
    return parse_cluster(options.on, read_prices(options.prices) if options.prices else ())


def validate(paths: Sequence[Path], way: str = "shipped", by: str = "source") -> Validation:
    """How wrong predictions are on tables of published measurements; without any, on the curated points we ship.

    Tables of training and of serving tell themselves apart by their columns; each is judged by its own command.
    """
    from trainwright.cost import validate as validation
    from trainwright.cost.published.row import column_names
    from trainwright.cost.serving.validate import validate_serving
    from trainwright.errors import InvalidInputError

    files = tuple(paths) or (validation.GOLDEN,)
    is_serving = ["ttft_ms" in column_names(path) for path in files]
    if any(is_serving) and not all(is_serving):
        raise InvalidInputError(
            "some of these tables measure training and some serving", hint="validate each kind in a command of its own"
        )
    judge = validate_serving if all(is_serving) else validation.validate
    return judge(files, way, by)  # type: ignore[arg-type]  # click lets nothing else through


def cite() -> dict[str, Any]:
    """The papers behind every part of a prediction, and the software stacks with their sources."""
    from trainwright.cost.sources import SOURCES
    from trainwright.cost.stack import stacks

    return {"parts": dict(SOURCES), "stacks": {known.name: known.source for known in stacks()}}
