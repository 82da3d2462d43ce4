import pytest

from trainwright.models.catalogue import model
from trainwright.models.figures import figures


@pytest.mark.parametrize(
    ("name", "billions"),
    [("deepseek-v3", 37), ("mixtral-8x22b", 39), ("qwen3-30b-a3b", 3.3), ("llama-4-scout", 17), ("kimi-k2", 32)],
)
def test_active_parameters_are_about_the_published_ones(name: str, billions: float) -> None:
    assert figures(model(name), 4096).active_parameters == pytest.approx(billions * 1e9, rel=0.035)


def test_latent_attention_caches_the_latent_only() -> None:
    assert figures(model("deepseek-v3"), 4096).kv_cache_bytes == 61 * (512 + 64) * 2


def test_an_encoder_caches_nothing_and_images_have_no_sequence() -> None:
    assert figures(model("bert-base"), 512).kv_cache_bytes == 0
    one, other = figures(model("vit-b-16"), 1), figures(model("vit-b-16"), 197)
    assert one.forward_flop == other.forward_flop
