"""Exactness cases, run inside worker processes: one launch for each number of processes, many cases in it.

Every process also does the whole thing alone and compares: losses over five SGD steps, gradient norms, the first
gradients and the last weights, each against its share of the whole.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.jobs.strategy import Strategy
from trainwright.runtime.launch import Orders
from trainwright.runtime.mesh import Mesh, make_mesh
from trainwright.runtime.place import Place, join_local, use_threads
from trainwright.runtime.precision import precision
from trainwright.runtime.shard import Sharded, shard_model

BATCH, SEQ, STEPS = 8, 16, 5
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 101,
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def llama(**changes: Any) -> nn.Module:
    return _causal("llama", {**SMALL, "num_key_value_heads": 2, "tie_word_embeddings": False, **changes})


def gpt2() -> nn.Module:
    sizes = {"n_embd": 32, "n_layer": 4, "n_head": 4, "vocab_size": 101, "n_positions": 32}
    return _causal("gpt2", {**sizes, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0})


def mixtral() -> nn.Module:
    return _causal("mixtral", {**SMALL, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2})


def qwen3() -> nn.Module:
    return _causal("qwen3", {**SMALL, "num_key_value_heads": 2, "head_dim": 8})


def bert() -> nn.Module:
    from transformers import AutoConfig, AutoModelForMaskedLM

    return _exact(AutoModelForMaskedLM, AutoConfig.for_model("bert", **SMALL, **NO_DROPOUT))


def vit() -> nn.Module:
    from transformers import AutoConfig, AutoModelForImageClassification

    sizes = {k: v for k, v in SMALL.items() if k != "vocab_size"}
    config = AutoConfig.for_model("vit", **sizes, **NO_DROPOUT, image_size=32, patch_size=8, num_labels=10)
    return _exact(AutoModelForImageClassification, config)


MODELS: dict[str, Callable[[], nn.Module]] = {
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
    for parameter in model.parameters():  # zeros and ones hide mistakes
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.train()


def batch(kind: str, step: int) -> tuple[Tensor, Tensor]:
    """The whole batch of a step: inputs and targets."""
    generator = torch.Generator().manual_seed(100 + step)
    if kind == "vit":
        images = torch.randn(BATCH, 3, 32, 32, generator=generator)
        return images, torch.randint(10, (BATCH,), generator=generator)
    ids = torch.randint(101, (BATCH, SEQ + 1), generator=generator)
    if kind == "bert":
        targets = ids[:, :-1].clone()
        targets[torch.rand(targets.shape, generator=generator) < 0.7] = -100
        return ids[:, :-1], targets
    return ids[:, :-1], ids[:, 1:]


@dataclasses.dataclass
class Outcome:
    losses: list[float]
    norms: list[float]
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]
    sharded: Sharded


def train_a_little(kind: str, strategy: Strategy, mesh: Mesh) -> Outcome:
    """Five SGD steps of this process's part."""
    sharded = shard_model(MODELS[kind](), strategy, mesh)
    out = Outcome([], [], {}, {}, sharded)
    optimizer = torch.optim.SGD(sharded.parameters, lr=0.5)
    for step in range(STEPS):
        inputs, targets = batch(kind, step)
        n_targets = int((targets != -100).sum())
        dp, index = mesh.dp, mesh.dp_index
        mine, wanted = inputs.chunk(dp)[index], targets.chunk(dp)[index]
        size = int(strategy.micro_batch)
        micros = list(zip(mine.split(size), wanted.split(size), strict=True))
        loss = sharded.gradients(micros, 1.0 / n_targets, precision(strategy.precision), lambda _part: None)
        sharded.join_gradients()
        loss_value, norm, _ = sharded.agree(loss)
        out.losses.append(loss_value)
        out.norms.append(norm)
        if step == 0:
            out.gradients = {n: p.grad.clone() for n, p in sharded.local.items() if p.grad is not None}
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        sharded.after_update()
    out.weights = {n: p.detach().clone() for n, p in sharded.local.items()}
    return out


def compare(kind: str, strategy: Strategy, place: Place, alone: Outcome) -> dict[str, float]:
    """Largest differences from the one-process run."""
    got = train_a_little(kind, strategy, make_mesh(strategy, place))
    return {
        "losses": max(abs(a - b) for a, b in zip(got.losses, alone.losses, strict=True)),
        "norms": max(abs(a - b) / b for a, b in zip(got.norms, alone.norms, strict=True)),
        "gradients": _furthest(got.gradients, alone.gradients, got.sharded),
        "weights": _furthest(got.weights, alone.weights, got.sharded),
        "n_gradients": float(len(got.gradients)),
    }


def _furthest(parts: dict[str, Tensor], wholes: dict[str, Tensor], sharded: Sharded) -> float:
    most = 0.0
    for name, part in parts.items():
        share = sharded.shares.get(name)
        if share is None:
            most = max(most, float((part - wholes[name]).abs().max()))
            continue
        for span in share.spans:
            most = max(most, float((part[span.local_slices] - wholes[name][span.whole_slices]).abs().max()))
    return most


def work(orders: Orders, telephone: Any) -> dict[str, dict[str, float]]:
    """Run every case of cases.json in the folder; rank 0 returns the differences, the largest over all ranks."""
    place = Place(rank=orders.rank, n_processes=orders.n_processes, local_rank=orders.rank, n_threads=1)
    use_threads(1)
    port = None if place.leads else telephone.ask()
    join_local(place, port, lambda opened: telephone.tell("port", opened))
    cases: dict[str, Any] = json.loads((orders.folder / "cases.json").read_text())
    found = {}
    alone: dict[str, Outcome] = {}
    for name, (kind, fields) in cases.items():
        telephone.tell("event", name)
        if kind not in alone:
            alone[kind] = train_a_little(
                kind, Strategy(precision="fp32", micro_batch=BATCH), Mesh(sizes={}, indexes={})
            )
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        mine = compare(kind, Strategy(**{"precision": "fp32", **fields}), place, alone[kind])
        everyone: list[Any] = [None] * place.n_processes
        torch.distributed.all_gather_object(everyone, mine)
        found[name] = {key: max(each[key] for each in everyone) for key in mine}
    return found
