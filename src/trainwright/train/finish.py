"""What a finished run leaves beside its records: a Hugging Face folder, and a sample of what the model writes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.data.start import ABOUT
from trainwright.data.tokenizer import END_OF_TEXT, load_tokenizer
from trainwright.errors import CheckpointError
from trainwright.records.plan import read_plan
from trainwright.runtime.checkpoint import Checkpoint, newest_checkpoint
from trainwright.runtime.model import build_model, logits_of
from trainwright.runtime.place import Place
from trainwright.runtime.state import whole_weights
from trainwright.runtime.tensorfile import write_tensors
from trainwright.runtime.weights import write_folder
from trainwright.train.example import ExampleTask
from trainwright.train.images import ImageTask
from trainwright.train.lora import adapt, merge
from trainwright.train.session import Session
from trainwright.train.text import TextTask

SAMPLE_TOKENS = 160
PROMPT_TOKENS = 12


def finish_run(session: Session) -> dict[str, Any]:
    """Export the model and show what it does; returns the RunRecord's fields about that. On the leader only."""
    config = read_plan(session.folder).model
    model = build_model(config, session.job.seed)
    checkpoint = newest_checkpoint(session.folder / "checkpoints", Place(), session.note, best=session.job.keep_best)
    assert checkpoint is not None, "the loop saves at its end"
    rank = session.job.transfer.lora_rank if session.job.transfer is not None else None
    if rank is not None:
        adapt(model, rank, session.job.seed)
    whole_weights(checkpoint, model)
    merge(model)
    if checkpoint.step != session.step:
        session.note(f"the model of step {checkpoint.step} is exported, which has the lowest held-out loss")
    task = session.task
    try:
        if isinstance(task, ImageTask):
            export_images(session.folder / "model", model, config, task)
            write_predictions(session.folder, model, task)
            return {"n_parameters": sum(p.numel() for p in model.parameters())}
        if isinstance(task, ExampleTask):
            take_place(begin_export(session.folder / "model", model))
            return {"n_parameters": sum(p.numel() for p in model.parameters())}
        assert isinstance(task, TextTask)
        target = begin_export(session.folder / "model", model, checkpoint)
        export(target, session.folder / "data" / "tokenizer.json", session.job.seq)
    except OSError as error:
        raise CheckpointError(
            f"cannot write the model to {session.folder / 'model'}: {error.strerror}",
            hint="make room, then run the same command again",
        ) from error
    tokens = task.tokens
    stream = tokens.held_out if len(tokens.held_out) else tokens.train
    prompt = [int(token) for token in stream[:PROMPT_TOKENS]]
    written = write_on(model, prompt, SAMPLE_TOKENS, session.job.seq, session.job.seed)
    tokenizer = load_tokenizer(session.folder / "data")
    return {
        "prompt": tokenizer.decode(prompt),
        "sample": tokenizer.decode(written),
        "n_parameters": sum(p.numel() for p in model.parameters()),
    }


def export(part: Path, tokenizer: Path, seq: int) -> None:
    """Add the tokenizer's files to what begin_export wrote, and let it take its place: whole or absent."""
    shutil.copyfile(tokenizer, part / "tokenizer.json")
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": seq}
    if END_OF_TEXT in json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]:
        about["eos_token"] = END_OF_TEXT
    (part / "tokenizer_config.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    take_place(part)


def take_place(part: Path) -> None:
    """Let what begin_export wrote take its place."""
    folder = part.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def begin_export(folder: Path, model: nn.Module, checkpoint: Checkpoint | None = None) -> Path:
    """Weights and configuration in a folder beside ``folder``, which takes its place when it is whole.

    From a checkpoint, weights are named and divided into files as ``save_pretrained`` would, a file at a time.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    if checkpoint is None:
        names = {name for name, _ in model.named_parameters()}
        kept = {n: t for n, t in model.state_dict().items() if n in names or n in dict(model.named_buffers())}
        write_tensors(part / "model.safetensors", kept, {"format": "pt"})
    else:
        write_folder(part, checkpoint, model)
    config: Any = getattr(model, "config", None)
    if config is not None:
        config.architectures = [type(model).__name__]
        (part / "config.json").write_text(config.to_json_string(), encoding="utf-8")
    return part


def export_images(folder: Path, model: nn.Module, config: dict[str, Any], task: ImageTask) -> None:
    """Write a classifier: weights, images.json for us, and for ``transformers`` how images are prepared."""
    part = begin_export(folder, model)
    pixels = task.images.train.pixels
    mean, deviation = task.normalization.mean, task.normalization.deviation
    about = {
        "config": config, "classes": task.images.classes, "size": pixels.shape[-1], "channels": pixels.shape[1],
        "mean": mean, "deviation": deviation,
    }  # fmt: skip
    (part / ABOUT).write_text(json.dumps(about, indent=2), encoding="utf-8")
    side = {"height": pixels.shape[-1], "width": pixels.shape[-1]}
    processor = {"image_processor_type": "ViTImageProcessor", "size": side, "image_mean": mean, "image_std": deviation}
    (part / "preprocessor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


@torch.no_grad()
def write_predictions(folder: Path, model: nn.Module, task: ImageTask) -> None:
    """predictions.csv: each held-out image with its label, the likeliest class and how likely both are held."""
    model.eval()
    rows = []
    for inputs, targets in task.held_out(0, 1, 256):
        chances = logits_of(model, inputs).float().softmax(-1)
        best, right = chances.max(-1), chances.gather(1, targets[:, None])[:, 0]
        rows += list(zip(targets.tolist(), best.indices.tolist(), best.values.tolist(), right.tolist(), strict=True))
    classes = task.images.classes
    with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "predicted", "chance", "chance_of_label"])
        for name, (label, guess, chance, right) in zip(task.images.held_out.names, rows, strict=True):
            writer.writerow([name, classes[label], classes[guess], f"{chance:.6f}", f"{right:.6f}"])


@torch.no_grad()
def write_on(model: nn.Module, prompt: list[int], n_tokens: int, seq: int, seed: int) -> list[int]:
    """Tokens that the model writes after the prompt: drawn at temperature 0.7 from the 40 likeliest."""
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    ids: Tensor = torch.tensor([prompt])
    for _ in range(n_tokens):
        logits = logits_of(model, ids[:, -seq:])[0, -1].float() / 0.7
        values, choices = logits.topk(min(40, logits.numel()))
        drawn = torch.multinomial(values.softmax(-1), 1, generator=generator)
        ids = torch.cat([ids, choices[drawn][None]], dim=1)
    return ids[0, len(prompt) :].tolist()
