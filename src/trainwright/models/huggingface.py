"""A Hugging Face config to a shape and back, without transformers: names of keys, nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError
from trainwright.models.build import build
from trainwright.models.families import Family, family, family_of_type
from trainwright.models.shape import Shape, shape_from_table
from trainwright.models.spec import ModelSpec

ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_eager",
    "relu": "relu", "relu2": "relu2", "quick_gelu": "quick_gelu",
}  # fmt: skip
ALIASES = {
    "hidden_size": ("n_embed", "d_model"), "n_layer": ("num_hidden_layers",), "n_head": ("num_attention_heads",),
    "n_embd": ("hidden_size",), "n_positions": ("max_position_embeddings", "n_ctx"), "n_layers": ("num_hidden_layers",),
    "n_heads": ("num_attention_heads",), "num_layers": ("num_hidden_layers",), "d_model": ("hidden_size",),
    "num_heads": ("num_attention_heads",), "hidden_activation": ("hidden_act",),
    "num_hidden_layers": ("n_layer",), "num_attention_heads": ("n_head",), "num_experts": ("num_local_experts",),
}  # fmt: skip
"""Other names of a key that transformers accepts too (its attribute maps)."""
REQUIRED = ("layers", "hidden", "heads", "vocabulary")


def spec_from_config(config: Mapping[str, Any] | Path, name: str | None = None) -> ModelSpec:
    """The model of a config.json: its contents, the file, or the folder that holds it.

    >>> sizes = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 256}
    >>> spec_from_config({"model_type": "llama", "intermediate_size": 128, **sizes}).n_parameters
    115008
    """
    return build(shape_from_config(config, name))


def shape_from_config(config: Mapping[str, Any] | Path, name: str | None = None) -> Shape:
    """The shape a config describes; what is not modelled is refused, by name."""
    source = str(config) if isinstance(config, Path) else "a Hugging Face config"
    if isinstance(config, Path):
        name = name or (config.parent if config.suffix == ".json" else config).name
        config = read_config(config)
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise InvalidInputError("the config has no model_type", hint="a Hugging Face config.json names one, as 'llama'")
    if "text_config" in config:
        raise InvalidInputError(
            f"{model_type} joins a text model to others, which only capture can follow",
            hint="give its text_config alone, or the model's code: [model] function = 'module:function'",
        )
    known = family_of_type(model_type)
    table = {**known.style, **_numbers(known, config), **known.read(config)}
    return shape_from_table({**table, "name": name or model_type, "family": known.name, "source": source})


def read_config(path: Path) -> Mapping[str, Any]:
    """What config.json says, of the folder or the file itself."""
    file = path / "config.json" if path.is_dir() else path
    if not file.exists():
        raise InvalidInputError(f"{file} does not exist", hint="give a folder with a config.json, or the file itself")
    try:
        config: Mapping[str, Any] = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"{file} is not JSON: {error}", hint="a config.json as transformers saves it"
        ) from error
    return config


def _numbers(known: Family, config: Mapping[str, Any]) -> dict[str, Any]:
    keys = known.key_of()
    numbers = {name: value for name, key in keys.items() if (value := _value(config, key)) is not None}
    missing = [keys[name] for name in REQUIRED if name not in numbers and name not in known.style]
    if missing:
        raise InvalidInputError(
            f"the {known.model_type} config lacks {', '.join(missing)}",
            hint="save the whole config: config.to_json_file(path, use_diff=False)",
        )
    if "activation" in numbers:
        if numbers["activation"] not in ACTIVATIONS:
            known_names = ", ".join(ACTIVATIONS)
            raise InvalidInputError(
                f"activation {numbers['activation']!r} is not supported",
                hint=f"one of {known_names}, or capture the code",
            )
        numbers["activation"] = ACTIVATIONS[numbers["activation"]]
    if known.dropouts:
        numbers["dropout"] = any(config.get(key) for key in known.dropouts)
    return numbers


def _value(config: Mapping[str, Any], key: str) -> Any:
    return next((config[name] for name in (key, *ALIASES.get(key, ())) if config.get(name) is not None), None)


def huggingface_config(shape: Shape) -> dict[str, Any]:
    """The config of a shape, as keyword arguments of its family's transformers config class and ``model_type``.

    A shape that the class cannot express is refused: the config is read back and compared.

    >>> huggingface_config(Shape(layers=2, hidden=64, heads=4, vocabulary=256, ffn=128))["architectures"]
    ['LlamaForCausalLM']
    """
    known = family(shape.family)
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    values = {name: getattr(shape, name) for name in known.key_of()}
    values |= {"ffn": shape.width, "kv_heads": shape.n_kv_heads, "head_dim": shape.dim}
    values["activation"] = names.get(shape.activation)
    config: dict[str, Any] = {
        "model_type": known.model_type,
        "architectures": [known.architecture],
        "use_cache": False,
        **known.fixed,
        **{key: values[name] for name, key in known.key_of().items() if values[name] is not None},
        **dict.fromkeys(known.dropouts, 0.1 if shape.dropout else 0.0),
        **_extras(shape, known),
    }
    _check_round_trip(shape, config)
    return config


def _extras(shape: Shape, known: Family) -> dict[str, Any]:
    """What ``Family.read`` reads, written."""
    extras: dict[str, Any] = {}
    if known.name in ("phi", "gpt_neox", "nemotron"):  # whose default is to rotate a part
        share = (shape.rotary_dim or shape.dim) / shape.dim
        rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": share}
        extras["rope_parameters"] = rope
    if known.name == "llama4":
        extras["attention_chunk_size"] = shape.window
    elif known.name in ("mistral", "mixtral", "phi3", "gemma2", "gemma3"):
        extras["sliding_window"] = shape.window
    if shape.global_every is not None and known.name.startswith("gemma"):
        kinds = ["sliding_attention" if shape.window_of(i) else "full_attention" for i in range(shape.layers)]
        extras |= {"layer_types": kinds, "sliding_window_pattern": shape.global_every}
    if known.name in ("qwen2_moe", "qwen3_moe"):
        extras["decoder_sparse_step"] = shape.expert_every
    if known.name.startswith("deepseek"):
        extras["n_shared_experts"] = (shape.shared_ffn or 0) // (shape.expert_ffn or 1)
        extras |= {"num_key_value_heads": shape.heads, "q_lora_rank": shape.q_rank}
    if known.name == "t5":
        extras["feed_forward_proj"] = "gated-gelu" if shape.gated else "relu"
    if known.name == "falcon":
        extras |= {"new_decoder_architecture": shape.norms == "parallel_two", "num_kv_heads": shape.n_kv_heads}
        extras["multi_query"] = shape.n_kv_heads == 1
    if known.name == "llama4":
        extras |= {
            "intermediate_size": shape.expert_ffn, "interleave_moe_layer_step": shape.expert_every,
            "use_qk_norm": shape.qk_norm is not None,
        }  # fmt: skip
    return extras


def _check_round_trip(shape: Shape, config: Mapping[str, Any]) -> None:
    again = shape_from_config(config)
    ignored = {"name", "source"} if "max_seq" in family(shape.family).key_of() else {"name", "source", "max_seq"}
    lost = [
        f"{field.name} = {getattr(shape, field.name)!r}"
        for field in fields(Shape)
        if field.name not in ignored and _plain(shape, field.name) != _plain(again, field.name)
    ]
    if lost:
        raise InvalidInputError(
            f"Hugging Face's {shape.family} cannot express {', '.join(lost)}",
            hint="choose another family, or write the model as code: [model] function = 'module:function'",
        )


def _plain(shape: Shape, name: str) -> Any:
    """A field with its default resolved, so that None and the usual value compare equal."""
    resolved = {"kv_heads": shape.n_kv_heads, "head_dim": shape.dim, "ffn": shape.width}
    if shape.kv_rank:
        resolved |= {"head_dim": 0}
    if shape.experts:
        resolved |= {"expert_ffn": shape.expert_ffn or shape.width}
    if name == "activation" and shape.activation == "gelu":
        return "gelu"
    return resolved.get(name, getattr(shape, name))
