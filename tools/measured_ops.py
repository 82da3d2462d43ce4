"""The published single-op measurements as samples: which device, which op, which sizes, how many seconds.

Reads ../shared/measurements (or TRAINWRIGHT_MEASUREMENTS); the product never does.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FOLDER = Path(
    os.environ.get("TRAINWRIGHT_MEASUREMENTS", Path(__file__).resolve().parents[1] / "../shared/measurements")
)
DEVICES = {
    "Tesla V100-PCIE-32GB": "V100-PCIe-32GB", "AMD Instinct MI100": "MI100", "NVIDIA A100 80GB PCIe": "A100-PCIe-80GB",
    "NVIDIA A100-PCIE-40GB": "A100-PCIe-40GB", "NVIDIA H100 80GB HBM3": "H100-SXM", "Tesla P100-PCIE-16GB":
    "P100-PCIe-16GB", "Tesla P4": "P4", "Tesla T4": "T4", "A100 80GB PCIe": "A100-PCIe-80GB", "A100 80GB SXM":
    "A100-SXM-80GB", "B200 SXM": "B200", "GTX 1080 Ti": "GTX-1080-Ti", "P100": "P100-PCIe-16GB", "T4": "T4",
    "V100 32GB/16GB DGX-1 (SXM2)": "V100-SXM2-16GB", "Titan Xp": "TITAN-Xp", "A100 80GB": "A100-SXM-80GB",
    "A40": "A40", "H100": "H100-SXM", "NVIDIA L4": "L4", "L4": "L4",
}  # fmt: skip
"""Names in the tables, and in the catalogue."""
DTYPES = {"FP32": "fp32", "BF16": "bf16", "FP16": "fp16", "FP16/FP32acc": "fp16"}
Kind = Literal["matmul", "stream", "reduction", "attention_forward", "attention_backward"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Ops of one kind, device and source. ``sizes``: m, n, k, count of a matmul; bytes of a stream; rows, columns
    and whether it is a softmax (else a layer norm) of a reduction; FLOP of attention.
    """

    device: str
    dtype: str
    source: str
    kind: Kind
    sizes: Array
    seconds: Array

    @property
    def label(self) -> str:
        """Device, dtype and source in one word each."""
        return f"{self.device} {self.dtype} {self.source}"


def rows(name: str) -> list[dict[str, str]]:
    """One table as dictionaries."""
    with gzip.open(FOLDER / f"{name}.csv.gz", "rt", newline="") as file:
        return list(csv.DictReader(file))


def samples(most: int = 1000) -> list[Samples]:
    """Every group of samples, at most so many of each (chosen by a fixed seed)."""
    groups: dict[tuple[str, str, str, Kind], list[tuple[Any, float]]] = {}
    for source in (_neusight_matmuls, _matmuls, _layers, _vectors, _attention):
        for device, dtype, name, kind, size, seconds in source():
            if device in DEVICES and seconds > 0:
                groups.setdefault((DEVICES[device], dtype, name, kind), []).append((size, seconds))
    chance = np.random.default_rng(0)
    made = []
    for (device, dtype, name, kind), found in sorted(groups.items()):
        chosen = chance.permutation(len(found))[:most]
        sizes = np.array([found[i][0] for i in chosen], dtype=float)
        times = np.array([found[i][1] for i in chosen])
        made.append(Samples(device=device, dtype=dtype, source=name, kind=kind, sizes=sizes, seconds=times))
    return [group for group in made if len(group.seconds) >= 10]


Row = tuple[str, str, str, Kind, Any, float]


def _neusight_matmuls() -> Iterator[Row]:
    for row in rows("gemm_fp32_neusight"):
        size = tuple(float(row[name]) for name in ("m", "n", "k", "b"))
        yield row["gpu"], "fp32", f"neusight-{row['op']}", "matmul", size, float(row["latency_ms"]) / 1e3


def _matmuls() -> Iterator[Row]:
    for row in rows("gemm_measurements"):
        if row["dtype"] not in DTYPES or not (row["time_ms"] and row["m"] and row["k"]):
            continue
        size = (float(row["m"]), float(row["n"]), float(row["k"]), float(row["batch"] or 1))
        source = row["source"].split("/")[1].split("@")[0].lower()
        yield row["gpu"], DTYPES[row["dtype"]], source, "matmul", size, float(row["time_ms"]) / 1e3


def _layers() -> Iterator[Row]:
    """Products and norms of transformer layers; the same shape measured often counts once, at its median."""
    seen: dict[tuple[str, Kind, Any], list[float]] = {}
    for row in rows("llm_layer_ops_vidur"):
        hidden, ffn, heads, kv, tp, tokens = (
            float(row[name]) for name in ("hidden", "ffn", "heads", "kv_heads", "tp", "num_tokens")
        )
        up = 2.0 if row["gated_mlp"] == "True" else 1.0
        shapes: dict[str, tuple[Kind, Any]] = {
            "attn_pre_proj_ms": ("matmul", (tokens, (heads + 2 * kv) * hidden / heads / tp, hidden, 1.0)),
            "attn_post_proj_ms": ("matmul", (tokens, hidden, hidden / tp, 1.0)),
            "mlp_up_proj_ms": ("matmul", (tokens, up * ffn / tp, hidden, 1.0)),
            "mlp_down_proj_ms": ("matmul", (tokens, hidden, ffn / tp, 1.0)),
            "add_ms": ("stream", (6.0 * tokens * hidden,)),
        }
        for column, (kind, size) in shapes.items():
            if row[column]:
                seen.setdefault((row["gpu"], kind, size), []).append(float(row[column]) / 1e3)
    for (gpu, kind, size), times in seen.items():
        yield gpu, "fp16", "vidur", kind, size, float(np.median(times))


def _vectors() -> Iterator[Row]:
    for row in rows("vector_ops_neusight"):
        by_row = row["op"] in ("ln", "softmax")
        size = (
            (float(row["rows"]), float(row["cols"]), float(row["op"] == "softmax"))
            if by_row
            else (float(row["min_bytes"]),)
        )
        kind: Kind = "reduction" if by_row else "stream"
        yield row["gpu"], "fp32", "neusight-vector", kind, size, float(row["latency_ms"]) / 1e3


def _attention() -> Iterator[Row]:
    """Fused causal attention; the table counts every pair, and backward as 2.5 forwards, so half of it is done."""
    for row in rows("other_ops"):
        if row["op"] not in ("attention_fwd", "attention_bwd"):
            continue
        shape = dict(part.split("=") for part in row["shape"].split(", "))
        pairs = float(shape["batch"]) * float(shape["seq_len"]) ** 2 * float(shape["head_num"])
        flop = 2.0 * pairs * (float(shape["qk_head_dim"]) + float(shape["v_head_dim"]))
        backward = row["op"] == "attention_bwd"
        flop *= 2.5 if backward else 1.0
        kind: Kind = "attention_backward" if backward else "attention_forward"
        yield row["gpu"], "bf16", "simumax", kind, (flop / 2.0,), flop / (float(row["tflops"]) * 1e12)
