"""Every key a job file may have: where it stands, what values it takes, what it means.

The parser, the error messages and the docs page all read this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from trainwright.errors import InvalidInputError, nearest
from trainwright.jobs.augment import Augment, parse_chain
from trainwright.jobs.inputs import Input, parse_input
from trainwright.jobs.job import Balance, Objective, OnNan, OptimizerName, ScheduleName, Small, SyncMode
from trainwright.jobs.serving import KV_PRECISIONS, WEIGHT_FORMATS, Requests, parse_mix, seconds
from trainwright.jobs.strategy import PRECISIONS
from trainwright.units import parse_count

Reader = Callable[[Any], Any]
"""Turns a TOML value into ours, or raises ValueError saying what is allowed."""


TRACKERS = ("tensorboard", "mlflow", "wandb", "installed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key: its table ("" is the top of the file), its name, how to read it, and a line for the docs."""

    table: str
    name: str
    read: Reader
    meaning: str

    @property
    def dotted(self) -> str:
        """The key as a user would say it."""
        return f"{self.table}.{self.name}" if self.table else self.name


def integer(least: int = 1) -> Reader:
    """A whole number of at least ``least``; text such as 10k or 2M is read too."""

    def read(value: Any) -> int:
        number = _count(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float) or number != int(number) or number < least:
            raise ValueError(f"must be a whole number of at least {least}")
        return int(number)

    return read


def _count(text: str) -> float:
    try:
        return parse_count(text)
    except InvalidInputError as error:
        raise ValueError(f"must be a number; {error.hint}") from None


def real(least: float = 0.0, most: float = float("inf"), *, open_below: bool = False) -> Reader:
    """A number in a range; with ``open_below`` the least itself is not allowed."""

    def read(value: Any) -> float:
        allowed = f"a number {'above' if open_below else 'of at least'} {least:g}"
        allowed += f" and at most {most:g}" if most != float("inf") else ""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"must be {allowed}, without quotes")
        if not least <= value <= most or (open_below and value == least):
            raise ValueError(f"must be {allowed}")
        return float(value)

    return read


def choice(*allowed: str) -> Reader:
    """One of a few words."""

    def read(value: Any) -> str:
        if value not in allowed:
            near = nearest(str(value), allowed, n=1)
            raise ValueError(f"must be one of {', '.join(allowed)}" + (f"; did you mean {near[0]}?" if near else ""))
        return str(value)

    return read


def text(value: Any) -> str:
    """Any text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text in quotes")
    return value


def boolean(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def paths(value: Any) -> tuple[Path, ...]:
    """A file or folder, or a list of them; whether they exist is checked when they are read."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(v, str) and v for v in values):
        raise ValueError("must be a path in quotes or a list of them")
    return tuple(Path(v).expanduser() for v in values)


def one_path(value: Any) -> Path:
    """One file or folder."""
    return paths(text(value))[0]


def tokenizer(value: Any) -> str | Path:
    """``bytes``, ``bpe`` (trained on the job's own text), or the path of a tokenizer.json."""
    word = text(value)
    if word in ("bytes", "bpe"):
        return word
    if not word.endswith(".json"):
        raise ValueError("must be bytes, bpe, or the path of a tokenizer.json")
    return Path(word).expanduser()


def clip(value: Any) -> float | None:
    """A positive norm, or false for no clipping."""
    return None if value is False else real(0.0, open_below=True)(value)


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts, or one; numbers count as their text."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, str | int) and str(v).strip() for v in values):
        raise ValueError("must be a list of texts in quotes")
    return tuple(str(v) for v in values)


def trackers(value: Any) -> tuple[str, ...]:
    """Names of packages that metrics go to, besides steps.jsonl."""
    names = texts(value)
    for name in names:
        choice(*TRACKERS)(name)
    return names


def chain(value: Any) -> tuple[Augment, ...]:
    """Augmentations with their numbers, each a text such as "crop 0.3 1"."""
    return parse_chain(texts(value))


def example(value: Any) -> tuple[Input, ...]:
    """The inputs of a module, each a text such as "float32[batch,3,224,224]"."""
    try:
        return tuple(parse_input(text) for text in texts(value))
    except InvalidInputError as error:
        raise ValueError(f"cannot be read: {error.message}; {error.hint}") from None


def freeze(value: Any) -> int | str:
    """How many blocks stand still, or all but the head."""
    return "all but head" if value == "all but head" else _blocks(value)


def _blocks(value: Any) -> int:
    try:
        return int(integer(0)(value))
    except ValueError:
        raise ValueError('must be a number of blocks, or "all but head"') from None


def mix(value: Any) -> tuple[Requests, ...]:
    """Kinds of requests with their shares."""
    return parse_mix(texts(value))


def synonyms(value: Any) -> tuple[tuple[str, str], ...]:
    """Pairs of names for one class, as "car = automobile"."""
    pairs = [tuple(part.strip() for part in each.split("=")) for each in texts(value)]
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise ValueError('must be a list such as ["car = automobile"]')
    return tuple((pair[0], pair[1]) for pair in pairs)


SHAPE = {
    "layers": integer(), "hidden": integer(), "heads": integer(), "kv_heads": integer(), "ffn": integer(),
    "head_dim": integer(), "tied": boolean,
}  # fmt: skip
SHAPE_MEANINGS = {
    "layers": "decoder blocks", "hidden": "width", "heads": "attention heads",
    "kv_heads": "key and value heads (default: heads)", "ffn": "width inside the gated MLP (default: 8/3 hidden)",
    "head_dim": "width of one head (default: hidden / heads)",
    "tied": "whether the head shares the embedding (default: true)",
}  # fmt: skip

KEYS = (
    Key(table="", name="name", read=text, meaning="names the run folder"),
    Key(table="job", name="objective", read=choice(*get_args(Objective)), meaning="the same as training.objective"),
    Key(table="model", name="preset", read=text, meaning="a name from `trainwright models`"),
    Key(table="model", name="huggingface", read=one_path, meaning="a folder or config.json on disk"),
    Key(table="model", name="function", read=text, meaning="file.py:function that returns an nn.Module"),
    *(Key(table="model", name=name, read=read, meaning=SHAPE_MEANINGS[name]) for name, read in SHAPE.items()),
    Key(
        table="data",
        name="builtin",
        read=choice("python-reference", "digits"),
        meaning="text of Python itself, or scikit-learn's digits",
    ),
    Key(table="data", name="text", read=paths, meaning="text files or folders of them, UTF-8"),
    Key(
        table="data",
        name="example",
        read=example,
        meaning='inputs to make up for a module with its own loss, as ["float32[batch,3,64,64]"]',
    ),
    Key(table="data", name="tokenizer", read=tokenizer, meaning="bytes, bpe, or a tokenizer.json (default: bpe)"),
    Key(table="data", name="vocabulary", read=integer(2), meaning="BPE tokens to train (default: 1024)"),
    Key(
        table="data",
        name="held_out_share",
        read=real(0.0, 0.5, open_below=True),
        meaning="kept aside (default: 0.1; images 0.2)",
    ),
    Key(
        table="data",
        name="images",
        read=one_path,
        meaning="class folders, a CSV of file and label, tar or Parquet shards",
    ),
    Key(
        table="data", name="size", read=integer(4), meaning="side in pixels (default: the model's, the start's, or 32)"
    ),
    Key(
        table="data", name="channels", read=integer(), meaning="1 grey, 3 colour (default: the model's or the start's)"
    ),
    Key(table="data", name="classes", read=texts, meaning="only these classes (default: all)"),
    Key(table="data", name="per_class", read=integer(), meaning="training images of each class, at most"),
    Key(table="data", name="folds", read=integer(2), meaning="cut into so many folds, one of them held out"),
    Key(table="data", name="fold", read=integer(0), meaning="which fold is held out (default: 0)"),
    Key(table="data", name="balance", read=choice(*get_args(Balance)), meaning="of unequal classes (default: none)"),
    Key(table="data", name="small", read=choice(*get_args(Small)), meaning="files below size (default: enlarge)"),
    Key(
        table="data", name="statistics", read=choice("start", "data"), meaning="normalize as the start was, or by data"
    ),
    Key(table="augment", name="chain", read=chain, meaning='as ["flip", "crop 0.3 1", "mixup 0.2"]; docs/transfer.md'),
    Key(table="transfer", name="start", read=one_path, meaning="a run folder, or a Hugging Face folder"),
    Key(table="transfer", name="freeze", read=freeze, meaning='the first n blocks, or "all but head" (default: 0)'),
    Key(
        table="transfer",
        name="head_rate",
        read=real(open_below=True),
        meaning="the head's rate, in the job's (default: 1)",
    ),
    Key(
        table="transfer",
        name="layer_decay",
        read=real(0.0, 1.0, open_below=True),
        meaning="rate of each block further down",
    ),
    Key(table="transfer", name="lora_rank", read=integer(), meaning="only updates of this rank and the head move"),
    Key(table="transfer", name="unfreeze_every", read=integer(), meaning="steps after which one more block moves"),
    Key(
        table="transfer", name="reuse_rows", read=boolean, meaning="keep head rows whose label matches (default: true)"
    ),
    Key(table="transfer", name="synonyms", read=synonyms, meaning='names of one class, as ["car = automobile"]'),
    Key(table="serving", name="prompt", read=integer(), meaning='tokens of a prompt, as 2000 or "2k" (default: 1024)'),
    Key(table="serving", name="output", read=integer(), meaning="tokens of an answer (default: 256)"),
    Key(table="serving", name="mix", read=mix, meaning='instead: unlike requests, as ["70% 500+200", "30% 8k+300"]'),
    Key(table="serving", name="rate", read=real(open_below=True), meaning="requests a second (default: all it can)"),
    Key(table="serving", name="ttft", read=seconds, meaning='mean time to the first token at most, as "500 ms"'),
    Key(table="serving", name="tpot", read=seconds, meaning='mean time of a further token at most, as "50 ms"'),
    Key(table="serving", name="latency", read=seconds, meaning='mean time of a whole request at most, as "10 s"'),
    Key(
        table="serving",
        name="weights",
        read=choice(*WEIGHT_FORMATS),
        meaning="their format (default: 16 bits or fp8, as the planner finds)",
    ),
    Key(table="serving", name="kv", read=choice(*KV_PRECISIONS), meaning="format of the cache (default: 16 bits)"),
    Key(table="serving", name="batch", read=integer(), meaning="sequences in flight a replica at most"),
    Key(table="training", name="objective", read=choice(*get_args(Objective)), meaning="default: pretrain"),
    Key(table="training", name="global_batch", read=integer(), meaning="sequences or images in one optimizer step"),
    Key(table="training", name="sequence", read=integer(2), meaning="tokens in one sequence"),
    Key(table="training", name="steps", read=integer(), meaning="stop after so many steps"),
    Key(table="training", name="tokens", read=integer(), meaning='stop after so many tokens, as in "10M"'),
    Key(
        table="training", name="epochs", read=real(open_below=True), meaning="stop after so many passes over the images"
    ),
    Key(table="training", name="patience", read=integer(), meaning="stop after so many checks without improvement"),
    Key(table="training", name="precision", read=choice(*PRECISIONS), meaning="default: the planner chooses"),
    Key(
        table="training",
        name="on_nan",
        read=choice(*get_args(OnNan)),
        meaning="NaN or Inf: stop, or skip the batch (default: stop)",
    ),
    Key(table="training", name="restarts", read=integer(0), meaning="after a process was lost, in a row (default: 2)"),
    Key(
        table="training",
        name="hang_timeout",
        read=real(open_below=True),
        meaning="seconds without a sign of life (default: 600, or 20 predicted steps)",
    ),
    Key(table="training", name="compile", read=boolean, meaning="torch.compile on the blocks (default: false)"),
    Key(table="training", name="seed", read=integer(0), meaning="default: 0"),
    Key(table="optimizer", name="name", read=choice(*get_args(OptimizerName)), meaning="default: adamw"),
    Key(table="optimizer", name="learning_rate", read=real(open_below=True), meaning="the peak (default: 0.001)"),
    Key(table="optimizer", name="weight_decay", read=real(), meaning="default: 0.1"),
    Key(table="optimizer", name="beta1", read=real(0.0, 0.9999), meaning="default: 0.9"),
    Key(table="optimizer", name="beta2", read=real(0.0, 0.99999), meaning="default: 0.95"),
    Key(table="optimizer", name="momentum", read=real(0.0, 0.9999), meaning="for sgd (default: 0.9)"),
    Key(table="optimizer", name="clip_norm", read=clip, meaning="gradient norm limit, or false (default: 1)"),
    Key(table="schedule", name="name", read=choice(*get_args(ScheduleName)), meaning="default: cosine"),
    Key(table="schedule", name="warmup_share", read=real(0.0, 1.0), meaning="share of steps (default: 0.05)"),
    Key(table="schedule", name="final_share", read=real(0.0, 1.0), meaning="of the peak, at the end (default: 0.1)"),
    Key(table="schedule", name="patience", read=integer(), meaning="checks without improvement: plateau (default: 3)"),
    Key(
        table="schedule",
        name="factor",
        read=real(0.0, 1.0, open_below=True),
        meaning="of plateau, trial (default: 0.1)",
    ),
    Key(table="sync", name="mode", read=choice(*get_args(SyncMode)), meaning="default: all_reduce; docs/parallel.md"),
    Key(
        table="sync", name="every", read=integer(), meaning="steps between meetings of local_sgd, diloco (default: 20)"
    ),
    Key(table="sync", name="outer_rate", read=real(open_below=True), meaning="of diloco (default: 0.7)"),
    Key(table="sync", name="outer_momentum", read=real(0.0, 0.9999), meaning="of diloco (default: 0.9)"),
    Key(
        table="sync", name="staleness", read=integer(0), meaning="steps ahead of the slowest: async_server (default: 2)"
    ),
    Key(table="output", name="folder", read=one_path, meaning="where run folders go (default: runs)"),
    Key(table="output", name="evaluate_every", read=integer(), meaning="steps between held-out checks"),
    Key(table="output", name="checkpoint_every", read=integer(), meaning="steps between checkpoints"),
    Key(table="output", name="keep_checkpoints", read=integer(), meaning="how many stay (default: 2)"),
    Key(
        table="output",
        name="keep_best",
        read=boolean,
        meaning="keep and export the one with the lowest held-out loss (default: false)",
    ),
    Key(
        table="output",
        name="trackers",
        read=trackers,
        meaning="tensorboard, mlflow, wandb, or installed for all that are (default: none)",
    ),
)

SERVING = {key.name: key for key in KEYS if key.table == "serving"}
"""The keys of the [serving] table by name, which `--serve` reads too."""
