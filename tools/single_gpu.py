"""Score published training on one GPU with models that capture draws, and write the table into docs/accuracy.md.

python -m tools.single_gpu ../shared/measurements/single_gpu_training.csv.gz --models FOLDER

Models come from timm (`pip install --no-deps timm`; a stand-in for torchvision lets it import) and are kept in
FOLDER, so that a second run does not need it; BERT is the catalogue's.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib
import importlib.machinery
import re
import sys
import types
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from trainwright.cost.compose import compose
from trainwright.cost.corrections import scales_of
from trainwright.cost.ingredients import ingredients
from trainwright.cost.kind import kind_of
from trainwright.cost.memory import peak_bytes
from trainwright.cost.memory_rules import memory_rules, reserved_bytes
from trainwright.cost.pointwise import stream_s
from trainwright.cost.setting import setting
from trainwright.cost.stack import stack
from trainwright.errors import TrainwrightError
from trainwright.hardware import catalogue
from trainwright.hardware.cluster import NodeGroup
from trainwright.hardware.device import Device
from trainwright.hardware.published import published_device
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Precision, Strategy
from trainwright.models.build import build
from trainwright.models.catalogue import preset_shape
from trainwright.models.file import load_model, save_model
from trainwright.models.ops import linear
from trainwright.models.spec import CrossEntropy, Matmul, ModelSpec, Op, Pointwise

PAGE = Path("docs/accuracy.md")
START, END = "<!-- single gpu: generated -->", "<!-- single gpu: end -->"
STACK = "torch-eager"
BATCHES = (512, 384, 256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
"""What timm's benchmark tries until one fits."""

TF32 = ("Ampere", "Ada", "Hopper", "Blackwell")
PARTS = re.compile(r"(_in22ft1k|_in21ft1k|_22kft1k|_miil|_distilled_224)$")
TORCHVISION = {
    "mobilenet_v2": "mobilenetv2_100", "mnasnet0_75": "mnasnet_075", "mnasnet1_3": "mnasnet_140",
    "resnext101-32x4d": "resnext101_32x4d", "se-resnext101-32x4d": "seresnext101_32x4d",
}  # fmt: skip
"""What timm calls models of torchvision and of NVIDIA's examples, where the names differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One row: a model by its name and the side of its images (None: BERT, for ``seq`` tokens)."""

    source: str
    name: str
    side: int | None
    device: Device
    precision: Precision
    batch: int
    seq: int
    channels_last: bool
    optimizer: bool
    seconds: float
    failed_batch: int | None


def rows(path: Path) -> Iterator[Asked]:
    """The rows on one GPU whose model can be drawn."""
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            read = READERS.get(row["source"])
            if row["n_gpus"] == "1" and read and row["throughput"] and row["batch"].isdigit():
                device = published_device(row["gpu"])
                asked = read(row, device) if device else None
                if asked is not None:
                    yield asked


def _asked(row: Mapping[str, str], device: Device, name: str, **more: Any) -> Asked | None:
    precision = precision_of(row["precision"], device, row["framework"])
    if precision not in device.flop_per_s:
        return None
    batch = int(row["batch"])
    usual = {
        "side": 224, "seq": 1, "channels_last": False, "optimizer": True, "failed_batch": None,
    }  # fmt: skip
    return Asked(
        source=row["source"], name=name, device=device, precision=precision, batch=batch,
        seconds=batch / float(row["throughput"]), **(usual | more),
    )  # fmt: skip


def precision_of(text: str, device: Device, software: str) -> Precision:
    """What the products ran in: FP32 is TF32 in the containers of NVIDIA on what has it, from CUDA 11 on."""
    if re.search(r"fp16|amp|mixed", text.casefold()):
        return "fp16"
    if "CUDA V10" in software:
        return "fp32"
    return "tf32" if any(device.architecture.startswith(name) for name in TF32) else "fp32"


def _timm(row: Mapping[str, str], device: Device) -> Asked | None:
    batch = int(row["batch"])
    larger = [each for each in BATCHES if each > batch]
    return _asked(
        row, device, row["model"], side=int(row["img_or_seq_size"]), channels_last="NHWC" in row["framework"],
        failed_batch=min(larger) if larger else None,
    )  # fmt: skip


def _lambda(row: Mapping[str, str], device: Device) -> Asked | None:
    if row["model"].startswith("ResNet50"):
        return _asked(row, device, "resnet50")
    if row["model"].startswith("BERT-large"):
        return _asked(row, device, SQUAD, side=None, seq=384)
    return None


def _torchvision(row: Mapping[str, str], device: Device) -> Asked | None:
    if row["precision"] == "FP64" or re.match("shufflenet|squeezenet", row["model"]):
        return None
    found = _asked(row, device, TORCHVISION.get(row["model"], row["model"]), optimizer=False)
    if found is None or "FP16" in row["precision"]:
        return found
    return replace(found, precision="tf32" if device.architecture == "Ampere" else "fp32")  # cuDNN's default


def _examples(row: Mapping[str, str], device: Device) -> Asked | None:
    kind, name = row["model"].rpartition("/")[::2]
    if kind.endswith("ConvNets") and name in TORCHVISION:
        return _asked(row, device, TORCHVISION[name])
    if name == "RN50v1.5":
        return _asked(row, device, "resnet50", channels_last=True)
    if name in ("BERT", "biobert") and row["img_or_seq_size"] in ("128", "512") and int(row["batch"]) <= 128:
        return _asked(row, device, "bert-large", side=None, seq=int(row["img_or_seq_size"]))
    return None


READERS = {
    "huggingface/pytorch-image-models results": _timm,
    "lambdal/deeplearning-benchmark": _lambda,
    "ryujaehun/pytorch-gpu-benchmark": _torchvision,
    "NVIDIA/DeepLearningExamples": _examples,
}


class Drawer:
    """Specs by name and side, from the folder or drawn now and kept there; None where that is not possible."""

    def __init__(self, folder: Path, draws: bool) -> None:
        self.folder, self.draws = folder, draws
        self.specs: dict[tuple[str, int | None], ModelSpec | None] = {}

    def spec(self, name: str, side: int | None) -> ModelSpec | None:
        """The model."""
        if side is None:
            return bert(name)
        if (name, side) not in self.specs:
            path = self.folder / f"{name}@{side}.json"
            if not self.draws and not path.exists():
                return None
            try:
                if not path.exists():
                    save_model(drawn(name, side), path)
                self.specs[name, side] = load_model(path)
            except (TrainwrightError, RuntimeError, ImportError, AssertionError, TypeError, ValueError) as error:
                print(f"{name} at {side}: {error}", file=sys.stderr)
                self.specs[name, side] = None
        return self.specs[name, side]


SQUAD = "bert-large for SQuAD"
MASKED = 0.156
"""Share of the tokens that BERT's pretraining predicts: 20 of 128, 80 of 512 (NVIDIA's examples)."""


@cache
def bert(name: str) -> ModelSpec:
    """BERT-large with dropout: with a head of two classes, or one that sees the masked tokens only."""
    spec = build(replace(preset_shape("bert-large"), dropout=True))
    head = spec.blocks[-1]
    ops = (linear("head", 1024, 2, bias=True),) if name == SQUAD else tuple(_masked(op) for op in head.ops)
    return replace(spec, name=name, blocks=(*spec.blocks[:-1], replace(head, ops=ops)))


def _masked(op: Op) -> Op:
    saved = tuple(replace(each, elements=each.elements.times(MASKED)) for each in op.saved)
    if isinstance(op, Pointwise):
        return replace(op, elements=op.elements.times(MASKED), saved=saved)
    assert isinstance(op, Matmul | CrossEntropy)
    return replace(op, rows=op.rows.times(MASKED), saved=saved)


def drawn(name: str, side: int) -> ModelSpec:
    """A model of timm, captured for square images."""
    from trainwright.capture.module import Setup, captured
    from trainwright.jobs.inputs import parse_input

    timm = _timm_module()
    current = re.sub(r"^(gluon|swsl|ssl|tv|ig|jx)_", "", PARTS.sub("", name))
    current = re.sub(r"_v1([cds])$", r"\1", re.sub(r"_v1b$", "", current)).replace("swin_v2_cr", "swinv2_cr")

    def build() -> Any:
        try:
            return timm.create_model(current, img_size=side)
        except TypeError:  # convolutions take any size
            return timm.create_model(current)

    setup = Setup(inputs=(parse_input(f"float32[batch,3,{side},{side}]"),), batch=2)
    return captured(build, setup, name, f"timm {timm.__version__}").spec


@cache
def _timm_module() -> Any:
    """The package, with empty modules in place of torchvision, which only its data loading needs."""
    for name in ("", ".transforms", ".transforms.functional", ".datasets", ".ops", ".ops.misc", ".models"):
        name = f"torchvision{name}"
        module = _Empty(name)
        module.__path__ = []
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
        sys.modules[name] = module
    return importlib.import_module("timm")


class _EmptyClass(type):
    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _Empty(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _EmptyClass(name, (), {})


def predicted(asked: Asked, spec: ModelSpec) -> float:
    """Seconds of a step, from the catalogue alone."""
    work = Workload(global_batch=asked.batch, seq=asked.seq, optimizer="sgd" if asked.side else "adamw")
    strategy = Strategy(micro_batch=asked.batch, precision=asked.precision)
    link = catalogue.link(asked.device.link or asked.device.host_link or "PCIe-4-x16")
    group = NodeGroup(device=asked.device, n_nodes=1, devices_per_node=1, intra=link, inter=link)
    software = replace(stack(STACK), channels_last=asked.channels_last)
    scales = scales_of(software, asked.device, kind_of(spec, work), asked.precision)
    step = compose(ingredients(setting(spec, work, strategy, group, software)), scales)
    rest = float(np.max(step.step_s)) - float(np.max(step.time["optimizer"]))
    if asked.name == SQUAD and asked.precision != "fp16":
        return rest + written_out_s(spec, asked.device)
    return rest + (float(np.max(step.time["optimizer"])) if asked.optimizer else 0.0)


WRITTEN_OUT = (21.0, 33.0)
"""Kernels a tensor, and times that they go over its elements, of the BertAdam that NVIDIA's SQuAD script takes without
--fp16 (else apex's FusedAdam): each tensor is clipped alone (7 kernels, 3 passes), then moments and update are written
out (14; 12 in pytorch-pretrained-bert 0.6.2, optimization.py). That NVIDIA's script takes it is assumed; not looked
up."""


def written_out_s(spec: ModelSpec, device: Device) -> float:
    """Seconds of that optimizer: as the host issues its kernels, or as memory moves its elements."""
    n_kernels, passes = WRITTEN_OUT
    tensors = sum(
        block.repeats * sum(each.n_kernels * (each.n_parameters > 0) for each in block.ops) for block in spec.blocks
    )
    moved = passes * 4.0 * spec.n_parameters
    return max(2.0 * n_kernels * tensors * stack(STACK).dispatch_s, float(stream_s(moved, device)))


def needed_bytes(asked: Asked, spec: ModelSpec, batch: int) -> float:
    """Bytes of the device that a step of this batch takes."""
    rules = memory_rules(STACK if asked.side else "ngc")  # BERT's published scripts are NVIDIA's, with fused kernels
    work = Workload(global_batch=batch, seq=asked.seq, optimizer="sgd" if asked.side else "adamw")
    strategy = Strategy(micro_batch=batch, precision=asked.precision)
    allocated = float(np.max(peak_bytes(spec, work, strategy, rules)))
    return float(reserved_bytes(allocated, rules)) + rules.context_bytes


def section(path: Path, drawer: Drawer) -> str:
    """The table: errors of time by source, and what fitted or did not."""
    errors: dict[str, list[float]] = defaultdict(list)
    told = np.zeros(4, dtype=int)  # ran, ran and right, failed, failed and right
    names: set[str] = set()
    for asked in rows(path):
        spec = drawer.spec(asked.name, asked.side)
        if spec is None:
            continue
        names.add(asked.name)
        errors[f"{asked.source}, {asked.precision}"].append(predicted(asked, spec) / asked.seconds - 1.0)
        told += (1, needed_bytes(asked, spec, asked.batch) <= asked.device.memory_bytes, 0, 0)
        if asked.failed_batch:
            told += (0, 0, 1, needed_bytes(asked, spec, asked.failed_batch) > asked.device.memory_bytes)
    every = [error for group in errors.values() for error in group]
    lines = [
        f"{len(every)} rows of {len(names)} models: median error {100 * np.median(np.abs(every)):.1f}%, "
        f"MAPE {100 * np.mean(np.abs(every)):.1f}%. Of {told[0]} that ran {100 * told[1] / told[0]:.0f}% were "
        f"predicted to fit, of {told[2]} next larger batches that did not "
        f"{100 * told[3] / max(told[2], 1):.0f}% not to: "
        f"{100 * (told[1] + told[3]) / (told[0] + told[2]):.0f}% right.",
        "",
        "| source and precision | rows | median | MAPE | bias | within 25% |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, group in sorted(errors.items(), key=lambda item: -len(item[1])):
        one = np.array(group)
        lines.append(
            f"| {name} | {len(one)} | {100 * np.median(np.abs(one)):.1f}% | {100 * np.mean(np.abs(one)):.1f}% | "
            f"{100 * np.median(one):+.1f}% | {100 * np.mean(np.abs(one) <= 0.25):.0f}% |"
        )
    return "\n".join(lines)


def main() -> int:
    """Replace what stands between the markers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--models", type=Path, required=True, help="folder of captured models, filled as needed")
    parser.add_argument("--drawn", action="store_true", help="only models that are in the folder already")
    options = parser.parse_args()
    options.models.mkdir(parents=True, exist_ok=True)
    written = section(options.table, Drawer(options.models, draws=not options.drawn))
    print(written)
    text = PAGE.read_text()
    PAGE.write_text(f"{text.split(START)[0]}{START}\n{written}\n{END}{text.split(END)[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
