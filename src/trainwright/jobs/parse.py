"""A job file to a Job: every problem found, each with its line, reported together."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from trainwright.errors import InvalidInputError, nearest
from trainwright.jobs.job import (
    ImageData,
    Job,
    ModelChoice,
    OptimizerSettings,
    RateSchedule,
    Stopping,
    SyncSettings,
    TextData,
    Transfer,
)
from trainwright.jobs.keys import KEYS, SERVING, SHAPE
from trainwright.jobs.serving import Serving, serving_of

EXAMPLE = "example.toml"
_TEXT_FIELDS = ("builtin", "tokenizer", "vocabulary", "held_out_share")
_MODEL_WAYS = ("preset", "huggingface", "function")
IMAGE_BUILTINS = ("digits",)
_IMAGE_FIELDS = (
    "size", "channels", "classes", "per_class", "held_out_share", "folds", "fold", "balance", "statistics", "small",
)  # fmt: skip
_IMAGE_KEYS = {f"data.{name}" for name in _IMAGE_FIELDS if name != "held_out_share"} | {"training.epochs"}


@dataclass(slots=True)
class _Reading:
    """A file being read: its text for line numbers, the values found good, the problems so far."""

    path: str
    text: str
    values: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def complain(self, dotted: str, message: str) -> None:
        line = _line_of(self.text, dotted)
        where = f"{self.path}:{line}" if line else self.path
        self.problems.append(f"{where}: {message}")


def example_job() -> Job:
    """The built-in example: a small language model on the Python language reference."""
    text = resources.files("trainwright.jobs").joinpath("data", EXAMPLE).read_text(encoding="utf-8")
    return parse_job(text, EXAMPLE)


def load_job(path: Path) -> Job:
    """Read and check a job file.

    Raises InvalidInputError with one line for each problem: the line, the value, what is allowed, the nearest key.
    Paths in the file are relative to the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInputError(
            f"there is no job file {path}", hint="`trainwright train` alone runs an example"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"cannot read {path}: {error}", hint="a job file is TOML text in UTF-8") from error
    return parse_job(text, str(path), base=path.parent.absolute())


def parse_job(text: str, path: str, base: Path | None = None) -> Job:
    """Check the text of a job file and build the Job."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(
            f"{path} is not TOML: {error}", hint='texts need quotes, as in name = "my-run"'
        ) from None
    reading = _Reading(path=path, text=text)
    _read_values(reading, tables)
    _check_together(reading)
    if reading.problems:
        n = len(reading.problems)
        listed = "\n  ".join(reading.problems)
        raise InvalidInputError(
            f"{n} problem{'s' if n > 1 else ''} in the job file:\n  {listed}", hint="docs/job-file.md lists every key"
        )
    return _build(reading.values, base or Path())


def _read_values(reading: _Reading, tables: dict[str, Any]) -> None:
    known = {key.dotted: key for key in KEYS}
    for dotted, value in _flatten(tables):
        if dotted not in known:
            _complain_unknown(reading, dotted, list(known))
            continue
        try:
            reading.values[dotted] = known[dotted].read(value)
        except ValueError as error:
            reading.complain(dotted, f"{dotted} = {value!r} {error}")


def _flatten(tables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", v) for inner, v in value.items())
        else:
            yield name, value


def _complain_unknown(reading: _Reading, dotted: str, known: list[str]) -> None:
    table, _, name = dotted.rpartition(".")
    siblings = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == table]
    elsewhere = [k for k in known if k.rpartition(".")[2] == name]
    near = elsewhere or [f"{table}.{n}" if table else n for n in nearest(name, siblings, n=1)]
    near = near or nearest(dotted, known, n=1)
    reading.complain(dotted, f"unknown key {dotted}" + (f"; did you mean {near[0]}?" if near else ""))


def _check_together(reading: _Reading) -> None:
    values = reading.values
    wrong = " ".join(reading.problems)
    if is_of_serving(values):
        _check_serving(reading, wrong)
        return
    images = is_of_images(values)
    has_seq = any(each.has_seq for each in values.get("data.example", ())) or not (images or "data.example" in values)
    for needed in ("training.global_batch", "training.sequence") if has_seq else ("training.global_batch",):
        if needed not in values and needed not in wrong:
            reading.complain("training", f"{needed} is missing")
    rules: tuple[str, ...] = ("steps", "epochs", "patience") if images else ("steps", "tokens", "patience")
    rules = ("steps",) if "data.example" in values else rules
    if not any(f"training.{way}" in values or f"training.{way}" in wrong for way in rules):
        listed = ", ".join(f"training.{rule}" for rule in rules[:-1])
        reading.complain("training", f"no stopping rule: give {listed + ' or ' if listed else ''}training.{rules[-1]}")
    _check_model(reading, wrong)
    _check_data(reading, wrong)


def is_of_serving(values: dict[str, Any]) -> bool:
    """Whether the job serves: it says so, or asks what only serving knows."""
    stated = values.get("job.objective", values.get("training.objective"))
    return stated == "serve" or (stated is None and any(dotted.startswith("serving.") for dotted in values))


def _check_serving(reading: _Reading, wrong: str) -> None:
    values = reading.values
    for dotted in values:
        if dotted.partition(".")[0] not in ("", "name", "job", "model", "serving") and dotted != "training.objective":
            reading.complain(dotted, f"{dotted} is for training, and this job serves")
    if "serving.mix" in values and {"serving.prompt", "serving.output"} & values.keys():
        reading.complain("serving.mix", "serving.mix already says what serving.prompt and serving.output would")
    _check_model(reading, wrong)


def is_of_images(values: dict[str, Any]) -> bool:
    """Whether the job learns from images."""
    return "data.images" in values or values.get("data.builtin") in IMAGE_BUILTINS


def _check_model(reading: _Reading, wrong: str) -> None:
    values = reading.values
    ways = [way for way in _MODEL_WAYS if f"model.{way}" in values]
    shape = [name for name in SHAPE if f"model.{name}" in values]
    taken_from_start = "transfer.start" in values and not ways and not shape
    if len(ways) + bool(shape) != 1 and "model." not in wrong and not taken_from_start:
        given = ", ".join(ways + shape) or "nothing"
        reading.complain("model", f"[model] needs a preset, huggingface, function or a shape, and has {given}")
    if shape:
        _check_shape(reading)


def _check_data(reading: _Reading, wrong: str) -> None:
    values = reading.values
    sources = [name for name in ("text", "images", "builtin", "example") if f"data.{name}" in values]
    if len(sources) != 1 and "data." not in wrong:
        reading.complain("data", "[data] needs either text or images (files or folders), builtin, or example")
    if "example" in sources and not {"model.function", "model.huggingface"} & {*values, *wrong.split()}:
        reading.complain("data.example", "data.example is for model.function or model.huggingface")
    if not is_of_images(values):
        for dotted in values:
            table = dotted.partition(".")[0]
            if table == "augment" or (table == "transfer" and dotted != "transfer.start") or dotted in _IMAGE_KEYS:
                reading.complain(dotted, f"{dotted} is for images; [data] names none")
    elif values.get("data.fold", 0) >= values.get("data.folds", 1) and "data." not in wrong:
        reading.complain("data.fold", "data.fold counts from 0 and must be below data.folds")
    if "transfer.lora_rank" in values and (other := {"transfer.freeze", "transfer.unfreeze_every"} & set(values)):
        reading.complain("transfer.lora_rank", f"transfer.lora_rank freezes all but the head; leave out {min(other)}")
    if any(key.startswith("transfer.") for key in values) and "transfer.start" not in {*values, *wrong.split()}:
        reading.complain("transfer", "transfer.start is missing: a run folder or a Hugging Face folder")


def _check_shape(reading: _Reading) -> None:
    shape = {name: reading.values.get(f"model.{name}") for name in SHAPE}
    missing = [name for name in ("layers", "hidden", "heads") if shape[name] is None]
    if missing and not any(f"model.{name}" in " ".join(reading.problems) for name in missing):
        reading.complain("model", f"a model shape needs {', '.join(missing)} too")
    hidden, heads, kv_heads = shape["hidden"], shape["heads"], shape["kv_heads"]
    if hidden and heads and hidden % heads and not shape["head_dim"]:
        fitting = min((h for h in range(1, hidden + 1) if hidden % h == 0), key=lambda h: abs(h - heads))
        reading.complain("model.heads", f"model.hidden {hidden} does not divide into {heads} heads; {fitting} would")
    if heads and kv_heads and heads % kv_heads:
        reading.complain("model.kv_heads", f"model.heads {heads} is not a multiple of kv_heads {kv_heads}")


def _build(values: dict[str, Any], base: Path) -> Job:
    def section(table: str, *names: str) -> dict[str, Any]:
        return {name: values[f"{table}.{name}"] for name in names if f"{table}.{name}" in values}

    shape = section("model", *SHAPE)
    if is_of_serving(values):
        return _serving_job(values, ModelChoice(shape=shape or None, **section("model", *_MODEL_WAYS)), base)
    images, example = is_of_images(values), values.get("data.example", ())
    sized = any(each.has_seq for each in example) if example else not images
    return Job(
        name=values.get("name", "job"),
        model=_anchored(ModelChoice(shape=shape or None, **section("model", *_MODEL_WAYS)), base),
        data=TextData() if images or example else _text_data(values, section("data", *_TEXT_FIELDS), base),
        images=_image_data(values, section("data", *_IMAGE_FIELDS), base) if images else None,
        example=example,
        augment=values.get("augment.chain", ()),
        transfer=_transfer(section("transfer", *Transfer.__dataclass_fields__), base),
        global_batch=values["training.global_batch"],
        seq=values["training.sequence"] if sized else 1,
        stopping=Stopping(**section("training", "steps", "tokens", "patience", "epochs")),
        optimizer=OptimizerSettings(**section("optimizer", *OptimizerSettings.__dataclass_fields__)),
        schedule=RateSchedule(**section("schedule", *RateSchedule.__dataclass_fields__)),
        sync=SyncSettings(**section("sync", *SyncSettings.__dataclass_fields__)),
        output=values.get("output.folder", Path("runs")),
        **{"objective": "classify" if images else "pretrain", **section("training", "objective")},
        **section("training", "precision", "seed", "on_nan", "restarts", "hang_timeout", "compile"),
        **section("output", "evaluate_every", "checkpoint_every", "keep_checkpoints", "keep_best", "trackers"),
    )


def _serving_job(values: dict[str, Any], model: ModelChoice, base: Path) -> Job:
    asked: Serving = serving_of({name: values[f"serving.{name}"] for name in SERVING if f"serving.{name}" in values})
    return Job(
        name=values.get("name", "job"),
        model=_anchored(model, base),
        global_batch=1,
        seq=asked.longest,
        stopping=Stopping(),
        objective="serve",
        serving=asked,
    )


def _text_data(values: dict[str, Any], data: dict[str, Any], base: Path) -> TextData:
    if isinstance(data.get("tokenizer"), Path):
        data["tokenizer"] = base / data["tokenizer"]
    return TextData(paths=tuple(base / path for path in values.get("data.text", ())), **data)


def _image_data(values: dict[str, Any], data: dict[str, Any], base: Path) -> ImageData:
    if "data.images" in values:
        return ImageData(source=base / values["data.images"], **data)
    return ImageData(builtin=values["data.builtin"], **data)


def _transfer(given: dict[str, Any], base: Path) -> Transfer | None:
    return Transfer(**{**given, "start": base / given["start"]}) if given else None


def _anchored(model: ModelChoice, base: Path) -> ModelChoice:
    if model.function is not None:
        place, _, name = model.function.rpartition(":")
        beside = (base / place).absolute()
        return ModelChoice(function=f"{beside}:{name}") if beside.is_file() else model
    return model if model.huggingface is None else ModelChoice(huggingface=base / model.huggingface)


def _line_of(text: str, dotted: str) -> int | None:
    """The line where a dotted key (or a table) stands; None when it does not."""
    table, _, name = dotted.rpartition(".")
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[([^\]]+)\]", line):
            current = header[1].strip()
            if current == dotted:
                return number
        elif (key := re.match(r"\s*([\w.\"-]+)\s*=", line)) and _same(current, key[1], table, name):
            return number
    return None


def _same(current: str, key: str, table: str, name: str) -> bool:
    full = f"{current}.{key}" if current else key
    return full.replace('"', "") == (f"{table}.{name}" if table else name)
