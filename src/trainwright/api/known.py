"""The model of a job that planning cannot build by itself: captured from code, or from a config of no named family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright.errors import InvalidInputError, MissingExtraError
from trainwright.plan.known import Known

if TYPE_CHECKING:
    from trainwright.capture.module import Captured
    from trainwright.capture.standin import Kernels
    from trainwright.jobs.job import Job


def known_model(job: Job, kernels: Kernels = "cpu") -> Known | None:
    """The captured spec and what the runtime builds; None where the job's model is a preset, a shape or a family.

    ``kernels``: whose are expected where the step runs.
    """
    if job.images is not None:
        from trainwright.api.images import known_model as known_classifier

        return known_classifier(job, kernels)
    if job.model.function is None and not (job.model.huggingface is not None and needs_capture(job)):
        return None
    try:
        found, config = _captured(job, kernels)
    except ImportError as error:
        raise MissingExtraError(
            f"{job.model.function or job.model.huggingface} is captured with torch, which is not installed",
            hint="pip install 'trainwright[train]'",
        ) from error
    return Known(spec=found.spec, config=config)


def whole_pins(job: Job, known: Known | None) -> tuple[str, ...]:
    """What the runtime asks of a plan for a model that trains in parts: one process, and its batch in one piece."""
    if known is None:
        return ()
    return ("dp=1", f"micro_batch={job.global_batch}") if known.config.get("in_parts") else ()


def needs_capture(job: Job) -> bool:
    """Whether the config on disk is of no named family, or the job trains it on its own loss."""
    from trainwright.models.huggingface import shape_from_config

    assert job.model.huggingface is not None
    if job.example:
        return True
    try:
        shape_from_config(job.model.huggingface)
    except InvalidInputError:
        return _record(job.model.huggingface).get("model_type") is not None
    return False


def _record(path: Path) -> dict[str, Any]:
    file = path / "config.json" if path.is_dir() else path
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _captured(job: Job, kernels: Kernels) -> tuple[Captured, dict[str, Any]]:
    from trainwright.capture.huggingface import capture_config
    from trainwright.capture.module import Setup, captured
    from trainwright.plan.subject import USUAL_SAMPLES

    batch = max(job.global_batch // 2, 2) if job.global_batch else USUAL_SAMPLES // 2
    if job.model.function is None:
        assert job.model.huggingface is not None
        return _of_config(
            job, capture_config(job.model.huggingface, batch=batch, seq=job.seq or None, kernels=kernels,
                                inputs=job.example)
        )  # fmt: skip
    config: dict[str, Any] = {"function": job.model.function}
    seq = job.seq if any(each.has_seq for each in _inputs(job)) else None
    setup = Setup(inputs=_inputs(job), batch=batch, seq=seq, kernels=kernels)
    found = captured(_builder(job), setup, job.name, f"captured from {job.model.function}")
    return found, config | ({"in_parts": True} if hasattr(found.module, "training_step") else {})


def _of_config(job: Job, found: Captured) -> tuple[Captured, dict[str, Any]]:
    assert job.model.huggingface is not None
    record = _record(job.model.huggingface)
    return found, record | ({"class": type(found.module).__name__} if job.example else {})


def _inputs(job: Job) -> tuple[Any, ...]:
    from trainwright.jobs.inputs import Input
    from trainwright.jobs.model import vocabulary

    if job.example:
        return job.example
    tokens = Input(dims=("batch", "seq"), dtype="int64", below=vocabulary(job))
    return tokens, tokens


def _builder(job: Job) -> Any:
    """The module with its loss: its own, or the loop's where it gives logits for text."""
    from trainwright.capture.source import load_builder
    from trainwright.train.capturing import priced

    builder = load_builder(str(job.model.function))
    return builder if job.example else lambda: priced(builder(), None)
