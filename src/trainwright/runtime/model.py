"""A model from its configuration, with the same weights on every mesh."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainwright.capture.source import load_function
from trainwright.errors import InvalidInputError


def build_model(config: dict[str, Any], seed: int) -> nn.Module:
    """The model in fp32 on the CPU, initialized from the seed alone.

    ``config`` is a Hugging Face configuration with ``model_type`` (of a classifier of images where that type is one),
    or {"function": "module:function", "arguments": {}} for any function that returns an nn.Module taking the job's
    inputs and giving logits (its own loss, where the job makes its inputs up). With CLASS in it: of that class.
    """
    torch.manual_seed(seed)
    if "function" in config:
        return _from_function(config["function"], config.get("arguments", {})).train()
    if CLASS in config:
        return _named_class(config).train()
    if _is_of_images(config):
        return _classifier(config).train()
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = {key: value for key, value in config.items() if key not in ("architectures", "transformers_version")}
    try:
        built = AutoConfig.for_model(**{"model_type": "", **fields})
        model: nn.Module = AutoModelForCausalLM.from_config(built, attn_implementation="sdpa", dtype=torch.float32)
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInputError(
            f"transformers cannot build a language model of type {config.get('model_type')!r}: {_first_line(error)}",
            hint="`model` in plan.json must be a Hugging Face configuration with its model_type",
        ) from error
    return model.train()


CLASS = "class"
"""Key of a configuration whose model returns its own loss: the name of the class in transformers."""


def _named_class(config: dict[str, Any]) -> nn.Module:
    from trainwright.capture.huggingface import class_of

    fields = {key: value for key, value in config.items() if key != CLASS}
    kind = class_of(config[CLASS], fields)
    model: nn.Module = kind._from_config(kind.config_class.from_dict(fields), dtype=torch.float32)
    return model


def logits_of(model: nn.Module, inputs: Tensor, **more: Any) -> Tensor:
    """Logits [batch, seq, vocabulary] for token ids [batch, seq]; for other models what they give for their input."""
    config: Any = getattr(model, "config", None)
    if config is None:
        output = model(inputs)
    else:
        extra = {"use_cache": False, **more} if getattr(config, "use_cache", None) is not None else more
        output = model(**{str(model.main_input_name): inputs}, **extra)
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


def set_training(model: nn.Module) -> None:
    """Training mode, but for parts without a trainable parameter: their batch statistics and dropout stand still."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


def _is_of_images(config: dict[str, Any]) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    return config.get("model_type") in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES and "vocab_size" not in config


def _classifier(config: dict[str, Any]) -> nn.Module:
    from transformers import AutoConfig, AutoModelForImageClassification

    built = AutoConfig.for_model(**{k: v for k, v in config.items() if k not in ("architectures", "dtype")})
    model: nn.Module = AutoModelForImageClassification.from_config(built, dtype=torch.float32)
    return model


def _from_function(name: str, arguments: dict[str, Any]) -> nn.Module:
    model = load_function(name)(**arguments)
    if not isinstance(model, nn.Module):
        raise InvalidInputError(
            f"{name} returned {type(model).__name__}, not an nn.Module", hint="return the model that it builds"
        )
    return model


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
