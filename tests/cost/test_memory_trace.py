"""Predicted against traced: the peak of torch's allocator in a real step of a small Llama on the CPU."""

from __future__ import annotations

from typing import Any

import pytest

from trainwright.cost.memory import step_memory
from trainwright.cost.memory_rules import memory_rules
from trainwright.jobs.job import OptimizerSettings, Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.shape import Shape
from trainwright.models.transformer import decoder

WIDTH = {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 256}


def traced(config: dict[str, Any], strategy: Strategy, seq: int, n_micro: int) -> float:
    torch = pytest.importorskip("torch")
    from trainwright.runtime.mesh import Mesh
    from trainwright.runtime.model import build_model
    from trainwright.runtime.precision import precision
    from trainwright.runtime.shard import shard_model
    from trainwright.runtime.sync import EveryStep
    from trainwright.train.measure import peak_bytes_of
    from trainwright.train.optimizer import clip, make_optimizer

    sharded = shard_model(build_model(config, seed=0), strategy, Mesh(sizes={}, indexes={}))
    optimizer = make_optimizer(sharded.parameters, OptimizerSettings(name="adamw"))
    sync = EveryStep(sharded, optimizer)

    def step() -> None:
        rows = [torch.randint(0, config["vocab_size"], (strategy.micro_batch, seq + 1)) for _ in range(n_micro)]
        micros = [(row[:, :-1], row[:, 1:]) for row in rows]
        loss = sharded.gradients(micros, 1.0, precision(strategy.precision), lambda _: None)
        clip(sync, sync.join(loss, [], 1)[1], 1.0)
        sync.update(1e-3, 1)

    step()
    states = [value for state in optimizer.state.values() for value in state.values()]
    return peak_bytes_of(step, [*sharded.model.parameters(), *sharded.model.buffers(), *states])


@pytest.mark.parametrize(
    ("strategy", "layers", "seq", "vocabulary", "n_micro", "tied"),
    [
        (Strategy(micro_batch=4, precision="fp32"), 3, 128, 512, 1, False),
        (Strategy(micro_batch=1, precision="fp32"), 2, 32, 4096, 1, True),  # the end of backward is the peak
        (Strategy(micro_batch=4, precision="fp32"), 2, 64, 4096, 1, False),  # the loss is
        (Strategy(micro_batch=2, precision="fp32"), 3, 64, 512, 3, False),  # gradients are there already
        (Strategy(micro_batch=8, precision="fp32", recompute="full"), 4, 128, 512, 1, False),
        (Strategy(micro_batch=8, precision="fp32", recompute="selective"), 4, 128, 512, 1, False),
        (Strategy(micro_batch=4, precision="bf16"), 3, 128, 512, 1, False),
    ],
)
def test_the_peak_is_what_torch_allocates(
    strategy: Strategy, layers: int, seq: int, vocabulary: int, n_micro: int, tied: bool
) -> None:
    config = {
        **WIDTH, "model_type": "llama", "num_hidden_layers": layers, "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
    }  # fmt: skip
    model = decoder(
        Shape(layers=layers, hidden=128, heads=4, kv_heads=2, ffn=256, vocabulary=vocabulary, max_seq=4096, tied=tied)
    )
    workload = Workload(global_batch=int(strategy.micro_batch) * n_micro, seq=seq)
    predicted = sum(step_memory(model, workload, strategy, memory_rules("trainwright"))[0].values())
    assert predicted == pytest.approx(traced(config, strategy, seq, n_micro), rel=0.03)
