"""Every preset: parameters as published, parts that add up, ops that are named and split legally."""

from typing import get_args

import pytest

from trainwright.errors import InvalidInputError
from trainwright.models.catalogue import model, model_of_shape, presets
from trainwright.models.spec import Split

PUBLISHED = {
    "gpt2": 124_439_808,
    "gpt2-xl": 1_557_611_200,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "mistral-7b": 7_241_732_096,
    "qwen2-7b": 7_615_616_512,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name: str) -> None:
    assert model(name).n_parameters == PUBLISHED[name]


@pytest.mark.parametrize("name", presets())
def test_every_preset_keeps_the_contract(name: str) -> None:
    spec = model(name)
    assert spec.source
    total = sum(op.n_parameters * block.repeats for block in spec.blocks for op in block.ops)
    assert total - spec.n_tied_parameters == spec.n_parameters
    assert spec.blocks[-1].ops[-1].name == "loss"
    for block in spec.blocks:
        names = [op.name for op in block.ops]
        assert len(names) == len(set(names))
        for op in block.ops:
            assert op.split in get_args(Split)
            assert op.n_kernels >= 1


def test_a_near_miss_names_the_nearest_models() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown model 'llama-3-8'\n.*llama-3-8b"):
        model("llama-3-8")


def test_a_shape_with_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown model key 'layer'\n.*layers"):
        model_of_shape({"layer": 2})


def test_a_shape_that_lacks_sizes_says_which() -> None:
    with pytest.raises(InvalidInputError, match="lacks hidden, vocabulary"):
        model_of_shape({"layers": 2, "heads": 2})


def test_an_impossible_shape_lists_every_problem() -> None:
    with pytest.raises(InvalidInputError, match="5 heads cannot share 2 kv_heads"):
        model_of_shape({"layers": 2, "hidden": 60, "heads": 5, "kv_heads": 2, "vocabulary": 10})
    with pytest.raises(InvalidInputError, match="hidden 64 does not divide by 5 heads"):
        model_of_shape({"layers": 2, "hidden": 64, "heads": 5, "vocabulary": 10})


def test_an_unknown_family_names_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown model family 'lama'\n.*llama"):
        model_of_shape({"family": "lama", "layers": 2, "hidden": 64, "heads": 4, "vocabulary": 10})


def test_an_image_that_patches_do_not_tile_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="an image of side 224 into patches of side 15"):
        model_of_shape(
            {"family": "vit", "layers": 1, "hidden": 64, "heads": 4, "vocabulary": 10, "image": 224, "patch": 15}
        )


def test_more_experts_a_token_than_there_are_is_refused() -> None:
    sizes = {"layers": 1, "hidden": 64, "heads": 4, "vocabulary": 10}
    with pytest.raises(InvalidInputError, match="cannot pass 4 of 2 experts"):
        model_of_shape({"family": "mixtral", **sizes, "experts": 2, "experts_per_token": 4})


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="layers is 0, needs at least 1"):
        model_of_shape({"layers": 0, "hidden": 64, "heads": 4, "vocabulary": 10})
