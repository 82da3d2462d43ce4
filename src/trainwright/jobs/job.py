"""What is to be done: a model, data, a batch, a stopping rule. Parsed from TOML in jobs/parse.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainwright.jobs.augment import Augment, mean_partners
from trainwright.jobs.inputs import Input
from trainwright.jobs.serving import Serving
from trainwright.jobs.strategy import Precision

Objective = Literal["pretrain", "classify", "finetune", "lora", "distill", "serve"]
OptimizerName = Literal["sgd", "adam", "adamw", "adamw8bit", "adafactor", "muon"]
ScheduleName = Literal["constant", "cosine", "linear", "step", "one-cycle", "plateau", "trial", "range"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """The optimizer and its constants; ``clip_norm`` None: gradients are not clipped."""

    name: OptimizerName = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    momentum: float = 0.9
    clip_norm: float | None = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSchedule:
    """How the learning rate moves: linear warm-up over a share of the steps, then a shape down to a floor.

    ``patience``: checks without improvement after which ``plateau`` multiplies the rate by ``factor``.
    """

    name: ScheduleName = "cosine"
    warmup_share: float = 0.05
    final_share: float = 0.1
    patience: int = 3
    factor: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """When to stop: after so many steps or tokens, or when held-out loss stops improving for ``patience`` checks.

    ``epochs`` is for images; it becomes ``steps`` once the images are counted.
    """

    steps: int | None = None
    tokens: float | None = None
    patience: int | None = None
    epochs: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextData:
    """Text to learn from: ``builtin`` names data that Python or a dependency carries; else files or folders."""

    builtin: str | None = None
    paths: tuple[Path, ...] = ()
    tokenizer: Literal["bytes", "bpe"] | Path = "bpe"
    vocabulary: int = 1024
    held_out_share: float = 0.1


Balance = Literal["none", "weight", "resample"]
Small = Literal["enlarge", "leave out", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageData:
    """Images with classes: ``source`` is a folder of class folders or a CSV of file and label; else ``builtin``.

    ``classes`` () keeps all; ``per_class`` limits the training images of each; ``fold`` of ``folds`` is held out
    instead of ``held_out_share``. ``statistics``: normalize as the starting model was, or by the training images.
    ``small``: what becomes of files smaller than ``size``.
    """

    builtin: str | None = None
    source: Path | None = None
    size: int | None = None
    channels: int | None = None
    classes: tuple[str, ...] = ()
    per_class: int | None = None
    held_out_share: float = 0.2
    folds: int | None = None
    fold: int = 0
    balance: Balance = "none"
    small: Small = "enlarge"
    statistics: Literal["start", "data"] = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Where to start from and what of it may move.

    ``start``: a run folder of ours, or a Hugging Face folder. ``freeze``: the first n blocks, or all but the head.
    Rates: the head's is ``head_rate`` times the job's, and ``layer_decay`` multiplies it once for each block further
    from the head. ``unfreeze_every`` frees one more block, from the head down, after so many steps. ``lora_rank``: only
    the head and low-rank updates of this rank beside the other layers move.
    """

    start: Path
    freeze: int | Literal["all but head"] = 0
    head_rate: float = 1.0
    layer_decay: float = 1.0
    unfreeze_every: int | None = None
    lora_rank: int | None = None
    reuse_rows: bool = True
    synonyms: tuple[tuple[str, str], ...] = ()


OnNan = Literal["stop", "skip"]
SyncMode = Literal["all_reduce", "server", "async_server", "local_sgd", "diloco"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSettings:
    """How replicas keep together. It changes what is learned, so it is the job's and not the planner's choice.

    ``every``: steps between two meetings of local SGD or DiLoCo. ``outer_rate`` and ``outer_momentum``: DiLoCo's outer
    Nesterov step. ``staleness``: how many steps a replica of the asynchronous server may be ahead of the slowest.
    """

    mode: SyncMode = "all_reduce"
    every: int = 20
    outer_rate: float = 0.7
    outer_momentum: float = 0.9
    staleness: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Which model: exactly one of a preset name, a Hugging Face folder or config, a shape, or code to capture."""

    preset: str | None = None
    huggingface: Path | None = None
    function: str | None = None
    shape: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the cost model needs of a job: sizes and the optimizer, no data and no folders.

    ``quantized_base``: LoRA over matrices frozen in 4 bits (QLoRA). ``sample_s``: seconds of one core that making a
    sample takes (augmentation), as tried; ``sample_partners``: others of the batch that are mixed into each.
    """

    global_batch: int
    seq: int
    optimizer: OptimizerName = "adamw"
    objective: Objective = "pretrain"
    clip: bool = True
    lora_rank: int | None = None
    quantized_base: bool = False
    sample_s: float = 0.0
    sample_partners: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job. ``precision`` None lets the planner choose. With ``images`` or ``example``, ``data`` is not read.

    ``example``: inputs to make up, for a module that returns its own loss (docs/capture.md).

    ``on_nan``: what a NaN or Inf in loss or gradients does. ``keep_best``: the checkpoint with the lowest held-out loss
    stays beside the newest, and is the one that is exported. ``restarts``: how often in a row a lost process may make
    all start again. ``hang_timeout``: seconds without a sign of life (None: by the predicted step). ``compile``: blocks
    go through torch.compile. With ``serving`` nothing is trained: batch, sequence and stopping rule are not read.
    """

    name: str
    model: ModelChoice
    data: TextData = TextData()
    global_batch: int
    seq: int
    stopping: Stopping
    objective: Objective = "pretrain"
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: RateSchedule = field(default_factory=RateSchedule)
    precision: Precision | None = None
    seed: int = 0
    output: Path = Path("runs")
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    keep_checkpoints: int = 2
    keep_best: bool = False
    trackers: tuple[str, ...] = ()
    on_nan: OnNan = "stop"
    restarts: int = 2
    hang_timeout: float | None = None
    compile: bool = False
    images: ImageData | None = None
    example: tuple[Input, ...] = ()
    augment: tuple[Augment, ...] = ()
    transfer: Transfer | None = None
    serving: Serving | None = None
    sync: SyncSettings = SyncSettings()

    @property
    def workload(self) -> Workload:
        """The part of the job that the cost model prices."""
        return Workload(
            global_batch=self.global_batch,
            seq=self.seq,
            optimizer=self.optimizer.name,
            objective=self.objective,
            clip=self.optimizer.clip_norm is not None,
            sample_partners=mean_partners(self.augment),
        )
