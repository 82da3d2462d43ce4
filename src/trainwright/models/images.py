"""Classifiers of images by name: configurations that the runtime builds, for a size, channels and classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.models.catalogue import preset_shape
from trainwright.models.huggingface import huggingface_config

IMAGE_MODELS: Mapping[str, dict[str, Any]] = {
    "small-cnn": {"function": "trainwright.recipes.cnn:small_cnn", "arguments": {"width": 32}},
    "resnet-mini": {
        "model_type": "resnet", "embedding_size": 32, "hidden_sizes": [32, 64, 128], "depths": [1, 1, 1],
        "layer_type": "basic",
    },
    "resnet-18": {
        "model_type": "resnet", "embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2],
        "layer_type": "basic",
    },
    "resnet-50": {"model_type": "resnet"},
    "convnext-mini": {
        "model_type": "convnext", "hidden_sizes": [32, 64], "depths": [2, 2], "num_stages": 2, "patch_size": 2,
    },
    "convnext-tiny": {"model_type": "convnext"},
    "vit-mini": {
        "model_type": "vit", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
        "intermediate_size": 128, "patch_size": 2, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    },
}  # fmt: skip
"""Those from transformers' configurations are He et al. 2015, Liu et al. 2022 and Dosovitskiy et al. 2020."""


def image_model(name: str) -> dict[str, Any]:
    """The configuration of a named classifier; ViT presets of the catalogue count too."""
    if name in IMAGE_MODELS:
        return dict(IMAGE_MODELS[name])
    if name.startswith("vit"):
        return huggingface_config(preset_shape(name))
    raise unknown_name("classifier of images", name, IMAGE_MODELS)


def config_in(path: Path) -> dict[str, Any]:
    """A Hugging Face config.json, or the model.json of a folder of ours."""
    files = [path / "config.json", path / "model.json"] if path.is_dir() else [path]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise InvalidInputError(f"there is no {files[0]}", hint="give a config.json or the folder that holds one")
    config: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return config


def for_classes(config: Mapping[str, Any], classes: Sequence[str], channels: int, size: int) -> dict[str, Any]:
    """The configuration with a head for these classes, for images of these channels and this size."""
    if "function" in config:
        arguments = {**config.get("arguments", {}), "n_classes": len(classes), "channels": channels}
        return {"function": config["function"], "arguments": arguments}
    fitted = {key: value for key, value in config.items() if key not in ("architectures", "transformers_version")}
    fitted |= {
        "num_channels": channels,
        "id2label": {str(number): name for number, name in enumerate(classes)},
        "label2id": {name: number for number, name in enumerate(classes)},
    }
    fitted.pop("num_labels", None)
    patch = config.get("patch_size", 16)
    if config.get("model_type") in ("vit", "deit", "beit"):
        if size % patch:
            raise InvalidInputError(
                f"images of side {size} do not cut into patches of side {patch}",
                hint=f"make data.size a multiple of {patch}, as {max(size // patch, 1) * patch}",
            )
        fitted["image_size"] = size
    return fitted
