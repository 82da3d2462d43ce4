"""Parameters equal transformers' own; configs read, written back, and refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainwright.errors import InvalidInputError
from trainwright.models.catalogue import model, preset_shape, presets, shape_of
from trainwright.models.huggingface import huggingface_config, shape_from_config, spec_from_config

SIZES = {"layers": 2, "hidden": 64, "heads": 4, "vocabulary": 100}
NOT_HUGGINGFACE = {"grok-1"}  # published as JAX code only


def transformers_parameters(config: dict[str, Any]) -> int:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    numbers = {key: value for key, value in config.items() if key not in ("model_type", "architectures")}
    settings = transformers.AutoConfig.for_model(config["model_type"], **numbers)
    with torch.device("meta"):
        network = getattr(transformers, config["architectures"][0])._from_config(settings)
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", [name for name in presets() if name not in NOT_HUGGINGFACE])
def test_parameters_equal_those_transformers_makes(name: str) -> None:
    assert model(name).n_parameters == transformers_parameters(huggingface_config(preset_shape(name)))


def test_a_config_file_and_its_folder_are_read(tmp_path: Path) -> None:
    shape = preset_shape("qwen3-0.6b")
    (tmp_path / "config.json").write_text(json.dumps(huggingface_config(shape)))
    assert spec_from_config(tmp_path).n_parameters == model("qwen3-0.6b").n_parameters
    assert spec_from_config(tmp_path / "config.json").name == tmp_path.name


def test_a_missing_config_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"config.json does not exist\nhint: give a folder"):
        spec_from_config(tmp_path)


def test_a_broken_config_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InvalidInputError, match="is not JSON"):
        spec_from_config(tmp_path)


def test_an_unknown_architecture_points_to_capture() -> None:
    with pytest.raises(InvalidInputError, match=r"no formulas for model_type 'mamba'\nhint: capture"):
        spec_from_config({"model_type": "mamba"})
    with pytest.raises(InvalidInputError, match="has no model_type"):
        spec_from_config({"hidden_size": 64})
    with pytest.raises(InvalidInputError, match="gemma3 joins a text model to others"):
        spec_from_config({"model_type": "gemma3", "text_config": {}})


def test_configs_as_their_publishers_wrote_them() -> None:
    bloom = {"model_type": "bloom", "n_embed": 1024, "n_layer": 24, "num_attention_heads": 16, "vocab_size": 250880}
    assert spec_from_config(bloom).n_parameters == 559_214_592
    vit = {
        "model_type": "vit", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_channels": 3,
        "intermediate_size": 3072, "image_size": 224, "patch_size": 16, "hidden_act": "gelu",
    }  # fmt: skip
    assert spec_from_config({**vit, "id2label": {str(i): "a" for i in range(1000)}}).n_parameters == 86_567_656
    assert spec_from_config(vit).n_parameters == 86_567_656 - 998 * 769
    phi = {
        "model_type": "phi", "hidden_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 32,
        "intermediate_size": 10240, "vocab_size": 51200, "partial_rotary_factor": 0.4, "hidden_act": "gelu_new",
        "max_position_embeddings": 2048, "tie_word_embeddings": False, "num_key_value_heads": None,
    }  # fmt: skip
    assert shape_from_config(phi).rotary_dim == 32


def test_missing_sizes_are_named() -> None:
    with pytest.raises(InvalidInputError, match="lacks num_hidden_layers, vocab_size"):
        spec_from_config({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4})


def llama_config(**changes: Any) -> dict[str, Any]:
    return {**huggingface_config(shape_of(SIZES)), **changes}


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="activation 'xielu' is not supported"):
        spec_from_config(llama_config(hidden_act="xielu"))


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("qwen3_moe", {"mlp_only_layers": [0]}, r"qwen3_moe: mlp_only_layers = \[0\] is not supported"),
        ("falcon", {"alibi": True}, "falcon: alibi or sequential attention"),
        ("mpt", {"attn_config": {"alibi": False}}, "mpt: attention without alibi"),
        ("t5", {"num_decoder_layers": 3}, "t5: a decoder of 3 layers on an encoder of 2"),
        ("t5", {"feed_forward_proj": "gated-silu"}, "t5: feed_forward_proj = 'gated-silu'"),
        ("opt", {"word_embed_proj_dim": 32}, r"opt: word_embed_proj_dim = 32 \(not hidden_size\)"),
        ("gpt_neox", {"use_parallel_residual": False}, "gpt_neox: use_parallel_residual = false"),
    ],
)
def test_what_is_not_modelled_is_refused(family: str, changes: dict[str, Any], message: str) -> None:
    sparse: dict[str, Any] = {"experts": 4, "expert_ffn": 32} if "moe" in family else {}
    sparse |= {"activation": "gelu_eager"} if family == "t5" else {}
    config = huggingface_config(shape_of({"family": family, **SIZES, **sparse}))
    with pytest.raises(InvalidInputError, match=message):
        shape_from_config({**config, **changes})


def test_a_shape_the_class_cannot_express_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="llama cannot express positions = 'learned'"):
        huggingface_config(shape_of({**SIZES, "positions": "learned"}))
