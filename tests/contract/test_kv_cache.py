"""The bytes a sequence's cache is said to take are those transformers' DynamicCache holds."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache  # noqa: E402

from trainwright.cost.serving.cache import sequence_bytes  # noqa: E402
from trainwright.models.build import build  # noqa: E402
from trainwright.models.catalogue import shape_of  # noqa: E402
from trainwright.models.huggingface import huggingface_config  # noqa: E402

TINY = {"layers": 4, "hidden": 64, "heads": 8, "kv_heads": 2, "ffn": 96, "vocabulary": 128, "max_seq": 256}


@pytest.mark.parametrize(
    "more", [{"family": "llama"}, {"family": "mistral", "window": 16}, {"family": "gpt2", "kv_heads": 8}]
)
def test_a_cache_holds_what_we_say(more: dict[str, Any]) -> None:
    shape = shape_of({**TINY, **more})
    config = AutoConfig.for_model(**huggingface_config(shape))
    model = AutoModelForCausalLM.from_config(config).eval()
    cache = DynamicCache(config=config)
    with torch.no_grad():
        model(torch.zeros(3, 40, dtype=torch.long), past_key_values=cache, use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    kept = 40 if "window" not in more else 15  # transformers drops the token that the next one pushes out
    assert held == 3 * float(sequence_bytes(build(shape), "fp32", float(kept)))
