"""Plan a job for hardware that is there or could be rented; write the plan, its page, and other software's settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainwright.jobs.job import Job
    from trainwright.plan.answer import Answer
    from trainwright.plan.known import Known
    from trainwright.plan.serving.answer import ServingAnswer
    from trainwright.plan.subject import Know, Subject
    from trainwright.records.plan import PlanRecord

USUAL_STACK = "trainwright"
HERE = "here"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the command line says, as text; None or empty: the job's own, or the usual.

    ``on``: clusters, "any", or "here" for this machine. ``strategy``: one to price instead of a search. ``serve``: what
    a serving job is asked, as "prompt=2k,output=300,rate=10".
    """

    on: tuple[str, ...] = ()
    goal: str | None = None
    stack: str | None = None
    pins: tuple[str, ...] = ()
    strategy: str | None = None
    batch: int | None = None
    seq: int | None = None
    steps: int | None = None
    tokens: str | None = None
    optimizer: str | None = None
    deadline: str | None = None
    budget: str | None = None
    max_devices: int | None = None
    headroom: float = 0.05
    top: int = 8
    prices: Path | None = None
    serve: str | None = None
    inputs: tuple[str, ...] = ()


def plan(subject: str, options: PlanOptions, tell: Callable[[str], None]) -> Answer | ServingAnswer:
    """The best way to train or serve the subject.

    It is a job file, a model's name, a Hugging Face folder, or a plan.json to check.
    """
    from trainwright.api.serving import serving_answer
    from trainwright.jobs.inputs import parse_input
    from trainwright.plan.answer import Question, answer
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
    )
    found = read_subject(subject, asked, capturer(options.on, tell))
    for note in found.notes:
        tell(f"assumed: {note}")
    if found.job.serving is not None:
        pins = (*options.pins, options.strategy or "")
        return serving_answer(found, _clusters(options, found.cluster, tell), options, pins)
    chosen = answer(
        Question(
            subject=_with_strategy(found, options.strategy),
            clusters=_clusters(options, found.cluster, tell),
            stack=options.stack or USUAL_STACK,
            aim=_aim(options, found.n_steps),
            pins=_pins(options, found),
        )
    )
    if judging := view_note(found, chosen.best):
        tell(f"note: {judging}")
    return chosen


def capturer(on: Sequence[str], tell: Callable[[str], None]) -> Know:
    """Captures images' and code's models with the kernels of where they run: this machine's, or an accelerator's."""

    def know(job: Job) -> tuple[Job, Known | None]:
        from trainwright.api.images import checked
        from trainwright.api.known import known_model
        from trainwright.api.training import kernels_of, machine

        whole = checked(job) if job.images is not None else job
        return whole, known_model(whole, kernels_of(machine(tell)) if HERE in (on or (HERE,)) else "gpu")

    return know


def _with_strategy(subject: Any, text: str | None) -> Any:
    from dataclasses import replace

    from trainwright.jobs.strategy_text import parse_strategy

    return subject if text is None else replace(subject, strategy=parse_strategy(text))


def _aim(options: PlanOptions, n_steps: float | None) -> Any:
    """The aim; a deadline or a budget needs to know how many steps the job has."""
    from trainwright.errors import InvalidInputError
    from trainwright.plan.aim import Aim
    from trainwright.units import parse_dollars, parse_seconds

    if n_steps is None and (options.deadline or options.budget):
        raise InvalidInputError(
            "a deadline or budget needs to know how long the job is", hint="add --tokens or --steps"
        )
    return Aim(
        goal=options.goal or "fastest",  # type: ignore[arg-type]  # click lets nothing else through
        n_steps=n_steps,
        deadline_s=parse_seconds(options.deadline) if options.deadline else None,
        budget_dollars=parse_dollars(options.budget) if options.budget else None,
        max_devices=options.max_devices,
        headroom_share=options.headroom,
        n_shown=options.top,
        tp_across_nodes=any("tp=" in pin for pin in options.pins),
    )


def _pins(options: PlanOptions, found: Subject) -> Any:
    """The user's pins; for this machine, also what keeps the plan to what `trainwright train` carries out on it."""
    from trainwright.plan.here import carried_out
    from trainwright.plan.pins import parse_pins

    pins = parse_pins(text for pin in options.pins for text in pin.split(",") if text.strip())
    is_here = HERE in options.on or not (options.on or found.cluster)
    return carried_out(found.job, pins) if is_here and options.stack in (None, USUAL_STACK) else pins


def _clusters(options: PlanOptions, planned: str | None, tell: Callable[[str], None]) -> Any:
    from trainwright.api.training import machine
    from trainwright.hardware.prices import read_prices
    from trainwright.hardware.stored import stored_machine
    from trainwright.plan.market import ANY, read_clusters

    texts = options.on or ((planned,) if planned else (HERE,))
    if HERE in texts:
        return machine(tell).divisions
    own = read_prices(options.prices) if options.prices else ()
    stored = {text: profile for text in texts if (profile := stored_machine(text)) is not None}
    clusters = read_clusters([text for text in texts if text not in stored], options.max_devices, own)
    clusters += tuple(cluster for profile in stored.values() for cluster in profile.divisions)
    if ANY not in texts:
        for note in dict.fromkeys(note for cluster in clusters for note in cluster.notes):
            tell(f"note: {note}")
    return clusters


def plan_file(answer: Answer) -> PlanRecord:
    """The answer as the record that `trainwright train` runs and anyone can edit."""
    from trainwright.jobs.store import job_to_dict
    from trainwright.plan.record import plan_record, with_shares

    subject = answer.question.subject
    why = answer.explanation.sentences
    record = plan_record(answer.result, job_to_dict(subject.job), subject.config, answer.question.stack, why)
    return record if answer.shared is None else with_shares(record, answer.shared.mixed, answer.shared.strategy)


def write_answer(
    answer: Answer | ServingAnswer, output: Path | None, html: Path | None, export: Path | None
) -> list[str]:
    """Write what was asked for: plan.json, the page, other software's settings; a line of talk for each file."""
    from trainwright.api.serving import write_serving
    from trainwright.files import write_text
    from trainwright.plan.exports import exports
    from trainwright.plan.serving.answer import ServingAnswer
    from trainwright.records.store import write_record
    from trainwright.report.plan_html import plan_html

    if isinstance(answer, ServingAnswer):
        return write_serving(answer, output, html, export)
    told = []
    if output is not None:
        write_record(output, "plan", plan_file(answer))
        told.append(f"plan: {output}")
    if html is not None:
        write_text(html, plan_html(answer))
        told.append(f"page: {html}")
    if export is not None:
        export.mkdir(parents=True, exist_ok=True)
        for one in exports(answer.best.strategy, answer.question.subject.workload):
            write_text(export / one.file_name, one.text)
            told += [f"{one.software}: {export / one.file_name}", *(f"  {note}" for note in one.notes)]
    return told
