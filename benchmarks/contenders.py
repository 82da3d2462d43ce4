"""Training loops that benchmarks/trainers.py lets run against each other, ours among them."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from trainwright.data.tokens import prepare_tokens
from trainwright.jobs.job import Stopping
from trainwright.jobs.parse import example_job
from trainwright.jobs.store import job_to_dict
from trainwright.jobs.strategy import Strategy
from trainwright.records.plan import Candidate, PlanRecord, write_plan
from trainwright.runtime.model import build_model
from trainwright.runtime.place import Place, use_threads
from trainwright.train.loop import one_step
from trainwright.train.work import open_session, settle_process

Round = Callable[[int], list[float]]
"""Takes n + 1 steps and returns the seconds of the last n."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A GPT-2 of some size, and the batch it is trained with."""

    layers: int
    hidden: int
    heads: int
    vocabulary: int
    batch: int
    seq: int

    @property
    def config(self) -> dict[str, Any]:
        """As ``transformers`` reads it; without dropout, so that everybody computes the same."""
        none = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        return {
            "model_type": "gpt2", "vocab_size": self.vocabulary, "n_embd": self.hidden, "n_layer": self.layers,
            "n_head": self.heads, "n_positions": 1024, "bos_token_id": 0, "eos_token_id": 0, **none,
        }  # fmt: skip


SIZES = {
    "0.1M": Size(layers=2, hidden=64, heads=4, vocabulary=256, batch=8, seq=64),
    "5M": Size(layers=6, hidden=256, heads=8, vocabulary=2048, batch=8, seq=128),
    "124M": Size(layers=12, hidden=768, heads=12, vocabulary=50257, batch=2, seq=256),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all contenders share."""

    size: Size
    precision: str
    n_threads: int
    folder: Path

    def settle(self) -> None:
        """Give torch its threads."""
        use_threads(self.n_threads)

    @property
    def is_bf16(self) -> bool:
        """Whether products are in bfloat16 under autocast."""
        return self.precision == "bf16"

    def model(self) -> nn.Module:
        """The same weights for everybody."""
        return build_model(self.size.config, 0)

    def autocast(self) -> torch.autocast:
        """The precision's context."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.is_bf16)


class Tokens(Dataset[dict[str, Tensor]]):
    """Rows of random tokens, always the same."""

    def __init__(self, size: Size, n_rows: int = 4096) -> None:
        generator = torch.Generator().manual_seed(0)
        self._rows = torch.randint(0, size.vocabulary, (n_rows, size.seq), generator=generator)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self._rows[index], "labels": self._rows[index]}


def batches(size: Size) -> Iterator[Tensor]:
    """Batches without end."""
    while True:
        yield from (batch["input_ids"] for batch in DataLoader(Tokens(size), batch_size=size.batch))


def adamw(model: nn.Module, *, fused: bool = True) -> torch.optim.Optimizer:
    """The optimizer everybody uses; nanoGPT decays matrices only, in a group of their own, as we do."""
    groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "weight_decay": 0.1}]
    if isinstance(model, NanoGPT):
        matrices = [p for p in model.parameters() if p.dim() >= 2]
        others = [p for p in model.parameters() if p.dim() < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=fused)


def stepping(step: Callable[[], None]) -> Round:
    """A round of a loop that can be taken step by step."""

    def take(n_steps: int) -> list[float]:
        ends = []
        for _ in range(n_steps + 1):
            step()
            ends.append(time.perf_counter())
        return [b - a for a, b in pairwise(ends)]

    return take


def ours(setting: Setting, model: dict[str, Any] | None = None) -> Round:
    """The product's step in a process that is set up as the product's are, its record written down."""
    config = model or setting.size.config
    size, folder = setting.size, setting.folder / config.get("model_type", "own")
    place = Place(n_threads=setting.n_threads)
    settle_process(place)
    job = dataclasses.replace(
        example_job(), stopping=Stopping(steps=10**6), global_batch=size.batch, seq=size.seq,
        data=dataclasses.replace(example_job().data, tokenizer="bytes"),
    )  # fmt: skip
    prepare_tokens(folder / "data", job.data, job.seq)
    strategy = asdict(Strategy(micro_batch=size.batch, precision=setting.precision))
    zero = dict.fromkeys(("step_s", "step_low_s", "step_high_s", "peak_bytes", "tokens_per_s"), 0.0)
    chosen = Candidate(
        label="", strategy=strategy, n_processes=1, threads_per_process=place.n_threads, time={}, memory={}, **zero
    )
    plan = PlanRecord(
        job=job_to_dict(job), model=config, cluster={}, device_type="cpu", stack="trainwright", chosen=chosen
    )
    write_plan(folder, plan)
    session = open_session(folder, plan, place, lambda *_message: None)
    session.sync.begin()
    return stepping(lambda: session.keep(one_step(session), counts=True))


def bare(setting: Setting, model: nn.Module | None = None) -> Round:
    """What anybody would write: model, loss, backward, clip, AdamW, loss.item()."""
    model = model or setting.model()
    optimizer, rows = adamw(model), batches(setting.size)

    def step() -> None:
        ids = next(rows)
        with setting.autocast():
            out = model(input_ids=ids)
            logits = out.logits if hasattr(out, "logits") else out
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    return stepping(step)


class Block(nn.Module):
    """A GPT-2 block as nanoGPT writes it (github karpathy/nanoGPT, model.py)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.first, self.second = nn.LayerNorm(size.hidden), nn.LayerNorm(size.hidden)
        self.qkv = nn.Linear(size.hidden, 3 * size.hidden)
        self.out = nn.Linear(size.hidden, size.hidden)
        self.up, self.down = nn.Linear(size.hidden, 4 * size.hidden), nn.Linear(4 * size.hidden, size.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, positions, width] to the same."""
        b, t, width = x.shape
        q, k, v = (
            part.view(b, t, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(self.first(x)).split(width, dim=2)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, width))
        return x + self.down(functional.gelu(self.up(self.second(x))))


class NanoGPT(nn.Module):
    """GPT-2 as nanoGPT writes it, head tied to the embedding."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.hidden)
        self.places = nn.Embedding(1024, size.hidden)
        self.blocks = nn.Sequential(*(Block(size) for _ in range(size.layers)))
        self.norm = nn.LayerNorm(size.hidden)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits of every position."""
        x = self.tokens(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        return functional.linear(self.norm(self.blocks(x)), self.tokens.weight)


def build_nanogpt(**fields: int) -> NanoGPT:
    """NanoGPT of that size, for a plan's model."""
    return NanoGPT(Size(**fields))


def nanogpt(setting: Setting) -> Round:
    """The bare loop around nanoGPT's model."""
    torch.manual_seed(0)
    return bare(setting, NanoGPT(setting.size))


def ours_nanogpt(setting: Setting) -> Round:
    """Our loop around nanoGPT's model."""
    return ours(setting, {"function": "benchmarks.contenders:build_nanogpt", "arguments": asdict(setting.size)})


def hf_trainer(setting: Setting) -> Round:
    """transformers.Trainer, a new one each round around the same model and optimizer."""
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    model = setting.model()
    optimizer = adamw(model)

    class Ends(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
            self.ends.append(time.perf_counter())

    def take(n_steps: int) -> list[float]:
        arguments = TrainingArguments(
            output_dir=str(setting.folder / "hf"), max_steps=n_steps + 2,
            per_device_train_batch_size=setting.size.batch, use_cpu=True, bf16=setting.is_bf16, report_to=[],
            disable_tqdm=True, logging_steps=1, save_strategy="no",
            max_grad_norm=1.0, lr_scheduler_type="constant", dataloader_pin_memory=False, seed=0,
        )  # fmt: skip
        watch = Ends()
        data = Tokens(setting.size)
        trainer = Trainer(
            model=model, args=arguments, train_dataset=data, optimizers=(optimizer, None), callbacks=[watch]
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return [b - a for a, b in pairwise(watch.ends)][:n_steps]

    return take


def accelerate(setting: Setting) -> Round:
    """The bare loop written with Accelerate."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if setting.is_bf16 else "no")
    model = setting.model()
    loader = DataLoader(Tokens(setting.size), batch_size=setting.size.batch)
    model, optimizer, loader = accelerator.prepare(model, adamw(model), loader)

    def endless() -> Iterator[dict[str, Tensor]]:
        while True:
            yield from loader

    rows = endless()

    def step() -> None:
        loss = model(**next(rows)).loss
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()

    return stepping(step)


def lightning(setting: Setting) -> Round:
    """Lightning's Trainer, a new one each round around the same module."""
    import lightning as pl

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = setting.model()
            self.ends: list[float] = []

        def training_step(self, batch: dict[str, Tensor], _index: int) -> Tensor:
            loss: Tensor = self.model(**batch).loss
            self.log("loss", loss.item())
            return loss

        def on_train_batch_end(self, *_args: Any, **_kwargs: Any) -> None:
            self.ends.append(time.perf_counter())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return adamw(self.model, fused=not setting.is_bf16)  # Lightning clips no fused optimizer's under autocast

    module = Module()

    def take(n_steps: int) -> list[float]:
        module.ends = []
        trainer = pl.Trainer(
            max_steps=n_steps + 1, accelerator="cpu", devices=1,
            precision="bf16-mixed" if setting.is_bf16 else "32-true",
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            gradient_clip_val=1.0, default_root_dir=setting.folder,
        )  # fmt: skip
        trainer.fit(module, DataLoader(Tokens(setting.size), batch_size=setting.size.batch))
        return [b - a for a, b in pairwise(module.ends)]

    return take


CONTENDERS: dict[str, Callable[[Setting], Round]] = {
    "ours": ours, "bare": bare, "hf-trainer": hf_trainer, "accelerate": accelerate, "lightning": lightning,
    "ours-nanogpt": ours_nanogpt, "nanogpt": nanogpt,
}  # fmt: skip
