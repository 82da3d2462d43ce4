"""A folder to start from: weights, the names of its classes, and how its images were normalized."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from trainwright.errors import CheckpointError, InvalidInputError

ABOUT = "images.json"
"""Beside the model of a run of ours: classes, size, channels, mean, deviation."""
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a folder says of itself; None where it does not."""

    folder: Path
    config: dict[str, Any]
    classes: tuple[str, ...] = ()
    size: int | None = None
    channels: int | None = None
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None


def read_start(path: Path) -> Start:
    """A run folder of ours (its ``model`` folder is taken), or a Hugging Face folder of a classifier.

    Raises InvalidInputError when the folder holds no model.
    """
    folder = path / "model" if (path / "model" / WEIGHTS).exists() else path
    if not any((folder / name).exists() for name in (WEIGHTS, INDEX)):
        raise InvalidInputError(
            f"there is no {WEIGHTS} in {path}", hint="give the folder of a finished run, or a Hugging Face folder"
        )
    if (folder / ABOUT).exists():
        about = _json(folder / ABOUT)
        return Start(
            folder=folder, config=about["config"], classes=tuple(about["classes"]), size=about["size"],
            channels=about["channels"], mean=tuple(about["mean"]), deviation=tuple(about["deviation"]),
        )  # fmt: skip
    config = _json(folder / "config.json")
    names = config.get("id2label") or {}
    about = _json(folder / "preprocessor_config.json") if (folder / "preprocessor_config.json").exists() else {}
    size = about.get("size", {})
    side = size.get("shortest_edge") or size.get("height") if isinstance(size, dict) else size
    return Start(
        folder=folder,
        config=config,
        classes=tuple(str(names[key]) for key in sorted(names, key=int)),
        size=side or config.get("image_size"),
        channels=config.get("num_channels"),
        mean=tuple(about["image_mean"]) if "image_mean" in about else None,
        deviation=tuple(about["image_std"]) if "image_std" in about else None,
    )


def start_weights(start: Start) -> dict[str, Tensor]:
    """The tensors of the folder, by name."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(start.folder / WEIGHTS))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{start.folder / WEIGHTS} cannot be read: {error}", hint="copy it again") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot read {path}: {error}", hint="give the folder of a whole model") from error
    return found
