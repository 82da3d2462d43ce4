"""Plan or price a serving job: which replicas, at what batch, for a rate of requests and within latency limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainwright.plan.serving.answer import ServingAnswer
    from trainwright.plan.subject import Subject

OF_TRAINING = ("batch", "seq", "steps", "tokens", "optimizer", "deadline", "budget")
"""Options that say nothing of a serving job."""


def serving_answer(subject: Subject, clusters: Sequence[Any], options: Any, pins: Sequence[str]) -> ServingAnswer:
    """The best replicas for the subject's requests on the clusters."""
    from trainwright.cost.serving.stack import serving_stack
    from trainwright.plan.serving.answer import answer_serving
    from trainwright.plan.serving.pins import parse_serving_pins
    from trainwright.plan.serving.question import OWN_ENGINE, USUAL_ENGINE, ServingQuestion

    refuse_training(options)
    assert subject.job.serving is not None  # the caller looked
    return answer_serving(
        ServingQuestion(
            model=subject.model,
            serving=subject.job.serving,
            clusters=tuple(clusters),
            stack=serving_stack(options.stack or (OWN_ENGINE if is_here(options.on) else USUAL_ENGINE)),
            goal=getattr(options, "goal", None) or "cheapest",
            pins=parse_serving_pins(pins),
            max_devices=getattr(options, "max_devices", None),
            n_shown=getattr(options, "top", 8),
        )
    )


def is_here(on: str | Sequence[str]) -> bool:
    """Whether this machine is meant."""
    return not on or on == "here" or "here" in tuple(on)


def refuse_training(options: Any) -> None:
    """Raise InvalidInputError where an option is given that only training knows."""
    from trainwright.errors import InvalidInputError

    given = [f"--{name}" for name in OF_TRAINING if getattr(options, name, None) is not None]
    if given:
        raise InvalidInputError(
            f"{', '.join(given)} is for training, and this job serves",
            hint="say what is asked with --serve prompt=...,output=...,rate=...,tpot=...,batch=...",
        )


def write_serving(answer: ServingAnswer, output: Path | None, html: Path | None, export: Path | None) -> list[str]:
    """Write the answer as JSON, as a page, as commands of engines; a line of talk for each file."""
    import json

    from trainwright.files import write_text
    from trainwright.plan.serving.exports import engine_commands
    from trainwright.report.serving_html import serving_html
    from trainwright.report.serving_json import serving_json

    told = []
    if output is not None:
        write_text(output, json.dumps(serving_json(answer), indent=2) + "\n")
        told.append(f"plan: {output}")
    if html is not None:
        write_text(html, serving_html(answer))
        told.append(f"page: {html}")
    if export is not None:
        export.mkdir(parents=True, exist_ok=True)
        for name, text in engine_commands(answer.best, answer.question.serving).items():
            write_text(export / name, text)
            told.append(f"command: {export / name}")
    return told
