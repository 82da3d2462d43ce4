"""Exactness cases, run in processes forked from one: a world for each number of processes, many cases in it.

What runtime/verify.py does for the user's plan, on the models and strategies of test_exact.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.jobs.strategy import Strategy
from trainwright.runtime.mesh import Mesh, make_mesh
from trainwright.runtime.model import build_model
from trainwright.runtime.place import Place
from trainwright.runtime.verify import Difference, Outcome, agree, compare, roughen, take_steps

BATCH, SEQ, VOCABULARY = 8, 16, 37
LAYERS = 4
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": VOCABULARY,
}


def small(layers: int) -> dict[str, Any]:
    return {**SMALL, "num_hidden_layers": layers}


NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def llama(layers: int = LAYERS) -> nn.Module:
    return _causal("llama", {**small(layers), "num_key_value_heads": 2, "tie_word_embeddings": False})


def gpt2(layers: int = LAYERS) -> nn.Module:
    sizes = {"n_embd": 32, "n_layer": layers, "n_head": 4, "vocab_size": VOCABULARY, "n_positions": 32}
    return _causal("gpt2", {**sizes, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0})


def mixtral(layers: int = LAYERS) -> nn.Module:
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
    return _causal("mixtral", {**small(layers), "num_key_value_heads": 2, **experts})


def qwen3(layers: int = LAYERS) -> nn.Module:
    return _causal("qwen3", {**small(layers), "num_key_value_heads": 2, "head_dim": 8})


def bert(layers: int = LAYERS) -> nn.Module:
    from transformers import AutoConfig, AutoModelForMaskedLM

    return _exact(AutoModelForMaskedLM, AutoConfig.for_model("bert", **small(layers), **NO_DROPOUT))


def vit(layers: int = LAYERS) -> nn.Module:
    from transformers import AutoConfig, AutoModelForImageClassification

    sizes = {k: v for k, v in small(layers).items() if k != "vocab_size"}
    config = AutoConfig.for_model("vit", **sizes, **NO_DROPOUT, image_size=32, patch_size=8, num_labels=10)
    return _exact(AutoModelForImageClassification, config)


class Denoiser(nn.Module):
    """T5 that writes its input again, a token later."""

    def __init__(self) -> None:
        from transformers import AutoConfig, AutoModelForSeq2SeqLM

        super().__init__()
        sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": VOCABULARY}
        self.t5 = _exact(AutoModelForSeq2SeqLM, AutoConfig.for_model("t5", **sizes, dropout_rate=0.0))

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.t5(input_ids=ids, decoder_input_ids=ids, use_cache=False).logits
        return logits


class Matching(nn.Module):
    """CLIP as a classifier: images against one text for each class, so that no example depends on another."""

    def __init__(self) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__()
        sizes = {k: v for k, v in small(LAYERS).items() if k != "vocab_size"}
        text = {**small(LAYERS), "max_position_embeddings": 16, "eos_token_id": 1, "bos_token_id": 0}
        config = AutoConfig.for_model(
            "clip", text_config=text, vision_config={**sizes, "image_size": 32, "patch_size": 8}, projection_dim=16,
            logit_scale_init_value=1.0,
        )  # fmt: skip
        self.clip = _exact(AutoModel, config)
        ids = torch.arange(10)[:, None] * 7 % 29 + torch.arange(2, 8)[None]
        self.register_buffer("texts", torch.cat([ids, torch.ones(10, 1, dtype=torch.long)], dim=1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.clip(input_ids=self.texts, pixel_values=images).logits_per_image
        return logits


class Own(nn.Module):
    """A model of nobody's family, with a tensor plan of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embed = nn.Embedding(VOCABULARY, 32)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(32), Widened()) for _ in range(3))
        self.head = nn.Linear(32, VOCABULARY)
        self.tensor_plan = {
            "embed": "embedding_rowwise",
            "blocks.*.1.up": "colwise",
            "blocks.*.1.down": "rowwise",
            "head": "colwise_gather_output",
        }

    def forward(self, ids: Tensor) -> Tensor:
        hidden: Tensor = self.embed(ids)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        logits: Tensor = self.head(hidden)
        return logits


class Widened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.down(torch.tanh(self.up(hidden)))
        return out


def resnet() -> nn.Module:
    from transformers import AutoConfig, AutoModelForImageClassification

    config = AutoConfig.for_model(
        "resnet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=10
    )
    torch.manual_seed(3)
    return roughen(AutoModelForImageClassification.from_config(config, dtype=torch.float32)).train()


WRAPPED: dict[str, Callable[[], nn.Module]] = {
    "t5": lambda: Denoiser().train(),
    "clip": lambda: Matching().train(),
    "resnet": resnet,
    "own": lambda: build_model({"function": f"{__name__}:Own"}, 3),
}
MODELS: dict[str, Callable[..., nn.Module]] = {
    "llama": llama,
    "gpt2": gpt2,
    "mixtral": mixtral,
    "qwen3": qwen3,
    "bert": bert,
    "vit": vit,
}


def _causal(kind: str, sizes: dict[str, Any]) -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = {"bos_token_id": 0, "eos_token_id": 0}
    return _exact(AutoModelForCausalLM, AutoConfig.for_model(kind, **sizes, **ids))


def _exact(kind: Any, config: Any) -> nn.Module:
    torch.manual_seed(3)
    model: nn.Module = kind.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    return roughen(model).train()


def batch(kind: str, step: int) -> tuple[Tensor, Tensor]:
    """The whole batch of a step: inputs and targets."""
    generator = torch.Generator().manual_seed(100 + step)
    if kind in ("vit", "clip", "resnet"):
        images = torch.randn(BATCH, 3, 32, 32, generator=generator)
        return images, torch.randint(10, (BATCH,), generator=generator)
    ids = torch.randint(VOCABULARY, (BATCH, SEQ + 1), generator=generator)
    if kind == "bert":
        targets = ids[:, :-1].clone()
        targets[torch.rand(targets.shape, generator=generator) < 0.7] = -100
        return ids[:, :-1], targets
    return ids[:, :-1], ids[:, 1:]


def builder(kind: str, strategy: Strategy) -> Callable[[], nn.Module]:
    """Two layers, or as many as the pipeline needs: what is divided in one is divided in all."""
    if kind in WRAPPED:
        return WRAPPED[kind]
    short = strategy.stages is None and strategy.pp * strategy.virtual_stages <= 2
    return partial(MODELS[kind], 2 if short else LAYERS)


_ALONE: dict[Any, Outcome] = {}


def alone(kind: str, strategy: Strategy) -> Outcome:
    """What one process computes; asked for before the fork, so that every process has it.

    Rounding in bf16 depends on which rows are multiplied together.
    """
    build = builder(kind, strategy)
    n_rows = BATCH if strategy.precision == "fp32" else int(strategy.micro_batch)
    undivided = Strategy(precision=strategy.precision, micro_batch=n_rows)
    key = (kind, getattr(build, "args", ()), undivided)
    if key not in _ALONE:
        _ALONE[key] = take_steps(build, partial(batch, kind), undivided, Mesh(sizes={}, indexes={}))
    return _ALONE[key]


def strategy_of(fields: dict[str, Any]) -> Strategy:
    return Strategy(**{"precision": "fp32", **fields})


def work(cases: dict[str, tuple[str, dict[str, Any]]], place: Place) -> dict[str, Difference]:
    """Run every case in this process of a world; the differences, the largest over all of them."""
    meshes: dict[Any, Mesh] = {}
    found = {}
    for name, (kind, fields) in cases.items():
        strategy = strategy_of(fields)
        axes = (strategy.dp, strategy.tp, strategy.cp, strategy.pp, strategy.ep)
        layout = (*axes, strategy.zero_stage > 0, strategy.shard, strategy.order)
        if layout not in meshes:
            meshes[layout] = make_mesh(strategy, place)
        try:
            got = take_steps(builder(kind, strategy), partial(batch, kind), strategy, meshes[layout])
            found[name] = agree(compare(got, alone(kind, strategy)), place)
        except Exception as error:
            raise AssertionError(f"in case {name}") from error
    return found
