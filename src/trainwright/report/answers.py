"""An answer of `plan` or `estimate`, whichever objective it is of, as text or plain values."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType

from trainwright.plan.answer import Answer
from trainwright.plan.forecast import Forecast
from trainwright.plan.serving.answer import ServingAnswer
from trainwright.report.estimate import estimate_json, estimate_text
from trainwright.report.plan_json import plan_json
from trainwright.report.plan_text import plan_text
from trainwright.report.serving_json import serving_json
from trainwright.report.serving_text import serving_text


def answer_text(answer: Answer | ServingAnswer) -> RenderableType:
    """A plan, for rich to print."""
    return serving_text(answer) if isinstance(answer, ServingAnswer) else plan_text(answer)


def answer_json(answer: Answer | ServingAnswer) -> dict[str, Any]:
    """A plan as plain values."""
    return serving_json(answer) if isinstance(answer, ServingAnswer) else plan_json(answer)


def forecast_text(found: Forecast | ServingAnswer, *, with_rule: bool) -> RenderableType:
    """An estimate, for rich to print; rules of thumb are for training only."""
    if isinstance(found, ServingAnswer):
        return serving_text(found, in_full=True)
    return estimate_text(found, with_rule=with_rule)


def forecast_json(found: Forecast | ServingAnswer) -> dict[str, Any]:
    """An estimate as plain values."""
    return serving_json(found) if isinstance(found, ServingAnswer) else estimate_json(found)
