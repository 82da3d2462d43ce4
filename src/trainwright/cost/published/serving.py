"""Rows of published serving measurements as questions to the cost model, with the answers that were measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from trainwright.cost.published.row import Row
from trainwright.cost.published.served import served_by, served_format, served_model
from trainwright.cost.serving.cache import cache_bytes
from trainwright.cost.serving.forward import Work, forward
from trainwright.cost.serving.load import Repeated, decode, fixed_batch, prefill, steady
from trainwright.cost.serving.replica import Replica
from trainwright.cost.serving.room import held_tokens, most_sequences, room
from trainwright.cost.serving.stack import serving_stack
from trainwright.hardware import catalogue
from trainwright.hardware.cluster import NodeGroup
from trainwright.hardware.device import Device
from trainwright.hardware.parse import default_intra
from trainwright.hardware.published import published_device
from trainwright.jobs.serving import Requests

SERVING_COLUMNS = (
    "gpu", "n_gpus", "parallelism", "model", "precision", "framework", "scenario", "batch_or_concurrency", "input_len",
    "output_len", "request_rate", "output_tok_s", "total_tok_s", "req_s", "ttft_ms", "tpot_ms", "latency_ms",
    "prefill_tok_s", "decode_tok_s", "mem_gb", "power_w", "source", "notes",
)  # fmt: skip
"""What a table of serving measurements must have."""

What = Literal["latency", "first token", "decode", "throughput"]
Refusal = Literal[
    "told twice", "no language model", "no such device", "no such engine", "no such weights", "no lengths",
    "nothing measured", "does not fit by our count", "no batch",
]  # fmt: skip

USUAL_CONTEXT = 256
"""Tokens behind a single stream where nobody says: a short question and its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCase:
    """One measured figure: ``seconds`` that the ``passes`` take.

    ``is_full``: whether the row says all that matters; ``group``: the same for rows that differ in batch or split only;
    ``place``: what tells the row from others.
    """

    source: str
    what: What
    replica: Replica
    passes: tuple[Repeated, ...]
    seconds: float
    is_full: bool
    group: str
    place: str


def source_of(row: Row) -> str:
    """The table a row is of: a repository and what part of it."""
    text = re.sub(r"@\w+.*", "", row["source"]).removeprefix("github:")
    text = re.sub(r"https?://(raw\.githubusercontent\.com|github\.com|huggingface\.co)/", "", text)
    name = "/".join(text.split("/")[:2]) if not text.startswith("spaces") else "/".join(text.split("/")[1:3])
    version = re.search(r"TensorRT-LLM (v[\d.]+|\(PyTorch)", row["framework"])
    return f"{name} {version[1].strip('(')}" if version else name


def place_of(row: Row) -> str:
    """What tells a row from the others."""
    named = ("source", "gpu", "n_gpus", "model", "precision", "framework", "scenario", "batch_or_concurrency")
    return "|".join(row[c] for c in (*named, "input_len", "output_len"))


def serving_cases(rows: Iterator[Row]) -> Iterator[ServingCase | Refusal]:
    """Each figure of each row, or why the row tells none; a figure copied into two rows counts once."""
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        key = tuple(row[c] for c in ("gpu", "n_gpus", "model", "batch_or_concurrency", "input_len", "latency_ms"))
        if "dstack" in row["source"] and row["latency_ms"]:
            if key in seen:
                yield "told twice"
                continue
            seen.add(key)
        found = replica_of(row)
        if not isinstance(found, Replica):
            yield found
            continue
        cases = list(_figures(row, found))
        yield from cases
        if not cases:
            yield "nothing measured"


def replica_of(row: Row) -> Replica | Refusal:
    """What the row ran on, or what it lacks."""
    device = device_of(row)
    if row["model"].split(" |")[0] in ("swin", "vit", "t5", "decoder", "longformer", "xlnet"):
        return "no language model"
    model = served_model(row["model"])
    if model is None:
        return "no language model"
    if device is None:
        return "no such device"
    engine = served_by(row["framework"], row["source"], row["scenario"], device.name)
    if engine is None:
        return "no such engine"
    stored = served_format(row["precision"])
    if stored is None:
        return "no such weights"
    tp, pp, ep = axes_of(row, layers_only=serving_stack(engine).layers_only)
    stack = serving_stack(engine)
    kv = "fp8" if (stack.kv_like_weights and stored.name in ("fp8", "fp4")) or "FP8-KV" in row["scenario"] else "fp16"
    kv = "fp32" if stored.name == "fp32" else kv
    group = _group(row, device, tp * pp * ep)
    return Replica(model=model, stack=stack, group=group, stored=stored, kv=kv, tp=tp, pp=pp, ep=ep)


def device_of(row: Row) -> Device | None:
    """The catalogue's device; a card in brackets after the host that holds it, with or without a footnote's digit."""
    text = row["gpu"]
    inside = re.search(r"\((?:Nvidia|AMD|Intel) (.*?)\)", text)
    if not inside:
        return published_device(text)
    name = inside[1] if "RTX" in inside[1] or not inside[1][:4].isdigit() else f"RTX {inside[1]}"
    return published_device(name) or published_device(re.sub(r"1$", "", name))


def axes_of(row: Row, *, layers_only: bool) -> tuple[int, int, int]:
    """tp, pp and ep of a row; two replicas side by side count as one on half the devices."""
    text = row["parallelism"] + " " + row["framework"]
    degree = {axis: int(n) for axis, n in re.findall(r"\b(DEP|TP|PP)-?(\d+)", text)}
    if way := re.search(r"(\d+)-way TP", row["framework"]):
        degree["TP"] = int(way[1])
    n_devices = row.count("n_gpus", 1) or 1
    if "2FP8" in row["scenario"]:
        n_devices //= 2
    if not degree and "FasterTransformer" in row["source"] and re.search("175B|89B", row["model"]):
        n_devices = 8  # docs/gpt_guide.md: both on eight A100
    if layers_only:
        return 1, max(n_devices, degree.get("TP", 1)), 1
    ep, pp = degree.get("DEP", 1), degree.get("PP", 1)
    return degree.get("TP", 1 if ep > 1 else max(n_devices // pp, 1)), pp, ep


def _group(row: Row, device: Device, n_devices: int) -> NodeGroup:
    entry = catalogue.entry(device.name)
    intra = default_intra(entry)
    if "PCIe not NVLink" in row["notes"]:
        intra = catalogue.link(device.host_link or "PCIe-4-x16")
    per_node = max(min(n_devices, max(entry.per_node, 1)), 1)
    n_nodes = -(-n_devices // per_node)
    inter = catalogue.link(entry.network)
    return NodeGroup(device=device, n_nodes=n_nodes, devices_per_node=per_node, intra=intra, inter=inter)


def _figures(row: Row, replica: Replica) -> Iterator[ServingCase | Refusal]:
    """A row's figures: the rates of prompts and decoding apart, a latency, or a throughput."""
    batch = row.count("batch_or_concurrency", 0)
    prompt, output = round(row.number("input_len") or 0), round(row.number("output_len") or 0)
    if rate := row.number("prefill_tok_s"):
        passes = (prefill(replica, float(max(batch, 1)), float(prompt or 512)),)
        yield _case(row, replica, "first token", passes, max(batch, 1) * (prompt or 512) / rate)
    if rate := row.number("decode_tok_s"):
        context = _decode_context(row, prompt, output)
        yield _case(row, replica, "decode", (decode(replica, float(max(batch, 1)), context),), max(batch, 1) / rate)
    if row.number("prefill_tok_s") or row.number("decode_tok_s"):
        return
    if not prompt:
        yield "no lengths"
    elif row["scenario"] == "first token latency":
        yield _case(row, replica, "first token", (prefill(replica, 1.0, prompt),), row.number("ttft_ms") or 0.0, 1e-3)
    elif not output:
        yield _forward_only(row, replica, batch, prompt)
    elif row["latency_ms"]:
        yield _latency(row, replica, batch, Requests(prompt=prompt, output=output))
    elif row["scenario"].startswith("online"):
        yield "no batch"
    elif row["output_tok_s"]:
        yield _throughput(row, replica, batch, Requests(prompt=prompt, output=output))


def _decode_context(row: Row, prompt: int, output: int) -> float:
    if "llama-bench" in row["scenario"]:  # generates from nothing
        return (output or 128) / 2.0
    return prompt + output / 2.0 if prompt else USUAL_CONTEXT / 2.0


def _forward_only(row: Row, replica: Replica, batch: int, prompt: int) -> ServingCase | Refusal:
    """One forward over whole sequences: logits of every position in transformers, none in FasterTransformer's BERT."""
    seconds = row.number("latency_ms")
    if not seconds:
        return "nothing measured"
    heads = float(batch * prompt) if row["scenario"].startswith("single forward") else 0.0
    work = Work(prompts=float(batch), prompt_tokens=prompt, heads=heads)
    return _case(row, replica, "latency", (Repeated(one=forward(replica, work), count=1.0),), seconds, 1e-3)


def _latency(row: Row, replica: Replica, batch: int, kind: Requests) -> ServingCase | Refusal:
    """A batch from start to end; what does not fit at once follows in further rounds."""
    seconds, most = row.number("latency_ms") or 0.0, _most(replica, kind)
    if most < 1.0:
        return "does not fit by our count"
    rounds = max(batch / most, 1.0)
    passes = fixed_batch(replica, min(float(batch), most), kind)
    return _case(row, replica, "latency", tuple(replace(p, count=p.count * rounds) for p in passes), seconds, 1e-3)


def _throughput(row: Row, replica: Replica, batch: int, kind: Requests) -> ServingCase | Refusal:
    """Tokens a second of a fixed batch, of so many users at once, or of as many sequences as the engine takes."""
    rate, most = row.number("output_tok_s") or 0.0, _most(replica, kind)
    if most < 1.0:
        return "does not fit by our count"
    if row["scenario"].startswith("peak throughput static"):
        per_device = replica.n_devices if "A100" in row["gpu"] else 1  # printed per GPU, as the H100's table says
        passes = fixed_batch(replica, float(batch), kind)
        return _case(row, replica, "throughput", tuple(passes), batch * kind.output / (rate * per_device))
    if "2FP8" in row["scenario"]:
        rate /= 2.0
    here = min(float(batch or 10**6), most)
    return _case(row, replica, "throughput", tuple(steady(replica, here, (kind,))), here / rate)


def _most(replica: Replica, kind: Requests) -> float:
    """Sequences in flight: as the cache holds, at most as the engine takes."""
    if cache_bytes(replica, held_tokens(replica, kind)) <= 0:
        return float(replica.stack.max_batch)
    return min(most_sequences(replica, (kind,), room(replica)), float(replica.stack.max_batch * replica.ep))


def _case(
    row: Row, replica: Replica, what: What, passes: tuple[Repeated, ...], value: float, unit: float = 1.0
) -> ServingCase:
    """The case; the row is full where it names engine, devices, weights, batch (or "as many as fit") and lengths."""
    named = ("n_gpus", "input_len", "output_len")
    is_full = all(row[c] for c in named) and row["input_len"][0].isdigit() and "geerling" not in row["source"]
    is_full = is_full or "FasterTransformer" in row["source"] or row["output_len"] == "1" or "NeuSight" in row["source"]
    return ServingCase(
        source=source_of(row),
        what=what,
        replica=replica,
        passes=passes,
        seconds=value * unit,
        is_full=is_full,
        group="|".join(row[c] for c in ("source", "model", "gpu", "n_gpus", "precision", "input_len", "output_len")),
        place=place_of(row),
    )
