"""Any Hugging Face config or folder as a ``ModelSpec``: transformers builds it on meta, capture traces it.

Inputs follow from what the model's ``forward`` takes. Nothing is downloaded and no weight is read.
"""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainwright.capture.module import Captured, Setup, captured
from trainwright.capture.standin import Kernels
from trainwright.errors import InvalidInputError
from trainwright.jobs.inputs import Input


def capture_config(
    source: Path, *, batch: int = 1, seq: int | None = None, kernels: Kernels = "gpu", inputs: tuple[Input, ...] = ()
) -> Captured:
    """The model of a config.json or of the folder that holds one."""
    model = built_from_config(source)
    sized = seq or _usual_seq(model)
    found = inputs or inputs_of(model)
    setup = Setup(
        inputs=found, batch=batch, seq=sized if any(each.has_seq for each in found) else None, kernels=kernels
    )
    name = source.parent.name if source.suffix == ".json" else source.name
    return captured(model, setup, name, f"captured from {source}")


def built_from_config(source: Path) -> nn.Module:
    """The model on meta, in fp32, of the class its config names in ``architectures`` (else by its task)."""
    file = source / "config.json" if source.is_dir() else source
    if not file.is_file():
        raise InvalidInputError(f"{file} does not exist", hint="give a folder with a config.json, or the file itself")
    try:
        record = json.loads(file.read_text())
        names = record.get("architectures") or []
    except (ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"{file} is not JSON: {error}", hint="a config.json as transformers saves it"
        ) from error
    try:
        kind = class_of(names[0] if names else None, record)
        config = kind.config_class.from_dict(record)
        config.use_cache = False
        with torch.device("meta"):
            made: nn.Module = kind._from_config(config, dtype=torch.float32)
    except (ImportError, AttributeError, KeyError, ValueError, TypeError) as error:
        what = names[0] if names else record.get("model_type")
        raise InvalidInputError(
            f"transformers cannot build {what!r} from {file}: {type(error).__name__}: {error}",
            hint="name an installed class in the config's architectures, or capture the code: file.py:function",
        ) from error
    return made


def class_of(name: str | None, record: dict[str, Any]) -> Any:
    """The class by name from its own module, which spares importing every other; else by the config's model type."""
    model_type = record.get("model_type")
    if name is not None and model_type:
        try:
            folder = str(model_type).replace("-", "_")
            return getattr(importlib.import_module(f"transformers.models.{folder}.modeling_{folder}"), name)
        except (ImportError, AttributeError):
            pass
    import transformers

    if name is not None:
        return getattr(transformers, name)
    config = transformers.AutoConfig.for_model(**record)
    for auto in (
        transformers.AutoModelForCausalLM,
        transformers.AutoModelForImageClassification,
        transformers.AutoModel,
    ):
        if type(config) in auto._model_mapping:
            return auto._model_mapping[type(config)]
    raise ValueError(f"no model class for {model_type}")


def inputs_of(model: nn.Module) -> tuple[Input, ...]:
    """What a training step feeds the model, read off the names its forward takes."""
    config: Any = getattr(model, "config", None)
    names = set(inspect.signature(model.forward).parameters)
    text = getattr(config, "text_config", config)
    vocabulary = getattr(text, "vocab_size", None) or 2
    found = [_main_input(name, config, vocabulary) for name in _main_names(model, names)]
    if "return_loss" not in names and "labels" in names:
        found.append(_labels(type(model).__name__, config, vocabulary))
    return tuple(found)


def _main_names(model: nn.Module, names: set[str]) -> list[str]:
    """Inputs that must be given: the model's main one, and the other side of a model of two."""
    main = str(getattr(model, "main_input_name", "input_ids"))
    both = {"input_ids", "pixel_values"} <= names and getattr(model.config, "vision_config", None) is not None
    return ["input_ids", "pixel_values"] if both else [main]


def _main_input(name: str, config: Any, vocabulary: int) -> Input:
    if name == "pixel_values":
        vision = getattr(config, "vision_config", None) or getattr(config, "encoder", None) or config
        size, channels = getattr(vision, "image_size", None) or 224, getattr(vision, "num_channels", 3)
        height, width = (size, size) if isinstance(size, int) else (size[0], size[1])
        return Input(name=name, dims=("batch", str(channels), str(height), str(width)))
    if name == "input_features":
        frames = 2 * getattr(config, "max_source_positions", 1500)
        return Input(name=name, dims=("batch", str(getattr(config, "num_mel_bins", 80)), str(frames)))
    if name == "input_values":
        return Input(name=name, dims=("batch", "16000"))
    return Input(name=name, dims=("batch", "seq"), dtype="int64", below=vocabulary)


def _labels(kind: str, config: Any, vocabulary: int) -> Input:
    if kind.endswith(("ForImageClassification", "ForSequenceClassification", "ForAudioClassification")):
        config.problem_type = "single_label_classification"
        return Input(name="labels", dims=("batch",), dtype="int64", below=getattr(config, "num_labels", 2))
    return Input(name="labels", dims=("batch", "seq"), dtype="int64", below=vocabulary)


def _usual_seq(model: nn.Module) -> int:
    """The model's own longest sequence, 2048 at most."""
    config: Any = getattr(model, "config", None)
    text = getattr(config, "text_config", None) or getattr(config, "decoder", None) or config
    names = ("max_position_embeddings", "n_positions", "max_target_positions", "max_length")
    known = [value for name in names if isinstance(value := getattr(text, name, None), int) and value > 1]
    return min(known[0] if known else 512, 2048)
