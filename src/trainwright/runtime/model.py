"""A model from its configuration, with the same weights on every mesh."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.errors import InvalidInputError


def build_model(config: dict[str, Any], seed: int) -> nn.Module:
    """The model in fp32 on the CPU, initialized from the seed alone.

    ``config`` is a Hugging Face configuration with ``model_type``, or {"function": "module:function"} for any function
    that returns an nn.Module taking token ids and giving logits.
    """
    torch.manual_seed(seed)
    if "function" in config:
        return _from_function(config["function"]).train()
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


def _from_function(name: str) -> nn.Module:
    module_name, _, attribute = name.partition(":")
    try:
        function: Callable[[], nn.Module] = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(f"cannot import {name!r}: {error}", hint="write module:function") from error
    model = function()
    if not isinstance(model, nn.Module):
        raise InvalidInputError(f"{name} returned {type(model).__name__}, not an nn.Module")
    return model


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
