import json
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from trainwright.capture.huggingface import capture_config
from trainwright.errors import InvalidInputError
from trainwright.models.flop import forward_flop
from trainwright.models.huggingface import spec_from_config

SIZES = {
    "num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 300,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


def folder_of(tmp_path: Path, **config: object) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_a_folder_gives_what_the_formulas_give_and_its_tensor_plan(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, model_type="llama", architectures=["LlamaForCausalLM"], **SIZES)
    found, named = capture_config(folder, batch=2).spec, spec_from_config(folder)
    assert found.n_parameters == named.n_parameters
    assert found.max_seq == 64
    assert forward_flop(found, 2, 64) == forward_flop(named, 2, 64)
    splits = {op.name: op.split for op in found.blocks[1].ops}
    assert (splits["self_attn.q_proj"], splits["self_attn.o_proj"], splits["mlp.act_fn"]) == ("column", "row", "column")


def test_an_image_model_is_fed_images(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path, model_type="vit", architectures=["ViTForImageClassification"], image_size=32, patch_size=8,
        **{key: SIZES[key] for key in ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")},
    )  # fmt: skip
    spec = capture_config(folder, batch=2).spec
    assert (spec.unit, [block.repeats for block in spec.blocks]) == ("images", [1, 3, 1])


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForEverything"]}, "cannot build 'LlamaForEverything'"),
        ({"model_type": "no-such-model"}, "cannot build 'no-such-model'"),
    ],
)
def test_what_transformers_does_not_know_is_told(config: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        capture_config(folder_of(tmp_path, **config))
    assert "file.py:function" in str(caught.value.hint)


def test_configs_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        capture_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InvalidInputError, match="is not JSON"):
        capture_config(tmp_path)
