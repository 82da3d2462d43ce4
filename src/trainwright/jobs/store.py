"""A Job as plain JSON values, and back: what plan.json carries."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainwright.jobs.augment import Augment
from trainwright.jobs.inputs import Input
from trainwright.jobs.job import (
    ImageData,
    Job,
    ModelChoice,
    OptimizerSettings,
    RateSchedule,
    Stopping,
    SyncSettings,
    TextData,
    Transfer,
)
from trainwright.jobs.serving import Requests, Serving


def job_to_dict(job: Job) -> dict[str, Any]:
    """The job with paths as absolute text, so that the plan runs from any folder."""
    plain: dict[str, Any] = _plain(asdict(job))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value.absolute()) if isinstance(value, Path) else value


def job_from_dict(plain: dict[str, Any]) -> Job:
    """The Job that job_to_dict wrote."""
    data = dict(plain["data"])
    tokenizer = data["tokenizer"] if data["tokenizer"] in ("bytes", "bpe") else Path(data["tokenizer"])
    model = dict(plain["model"])
    model["huggingface"] = Path(model["huggingface"]) if model["huggingface"] else None
    return Job(
        **{
            **plain,
            "model": ModelChoice(**model),
            "data": TextData(**{**data, "tokenizer": tokenizer, "paths": tuple(Path(p) for p in data["paths"])}),
            "stopping": Stopping(**plain["stopping"]),
            "optimizer": OptimizerSettings(**plain["optimizer"]),
            "schedule": RateSchedule(**plain["schedule"]),
            "output": Path(plain["output"]),
            "trackers": tuple(plain.get("trackers", ())),
            "images": _images(plain.get("images")),
            "example": tuple(Input(**{**each, "dims": tuple(each["dims"])}) for each in plain.get("example", ())),
            "augment": tuple(
                Augment(name=step["name"], values=tuple(step["values"])) for step in plain.get("augment", ())
            ),
            "transfer": _transfer(plain.get("transfer")),
            "sync": SyncSettings(**plain.get("sync", {})),
            "serving": _serving(plain.get("serving")),
        }
    )


def _serving(plain: dict[str, Any] | None) -> Serving | None:
    return None if plain is None else Serving(**{**plain, "mix": tuple(Requests(**kind) for kind in plain["mix"])})


def _images(plain: dict[str, Any] | None) -> ImageData | None:
    if plain is None:
        return None
    source = Path(plain["source"]) if plain["source"] else None
    return ImageData(**{**plain, "source": source, "classes": tuple(plain["classes"])})


def _transfer(plain: dict[str, Any] | None) -> Transfer | None:
    if plain is None:
        return None
    pairs = tuple((one, other) for one, other in plain["synonyms"])
    return Transfer(**{**plain, "start": Path(plain["start"]), "synonyms": pairs})
