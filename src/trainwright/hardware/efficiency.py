"""What share of its datasheet each device reaches: data/efficiency.toml, fitted by a script in tools/.

A device that nobody measured takes the constants of its architecture's relative, then of its kind, and its
``source`` says so. A dtype without a curve takes the nearest one of the same device.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trainwright.hardware.device import Efficiency, MatmulCurve, RowKernel, Saturation

REDUCTION = 0.68
"""Share of the streaming bandwidth that norms and softmax reach where nobody measured it: the median of ten GPUs."""

_NEAREST = {
    "bf16": ("bf16", "fp16", "tf32", "fp32"),
    "fp16": ("fp16", "bf16", "tf32", "fp32"),
    "tf32": ("tf32", "bf16", "fp16", "fp32"),
    "fp32": ("fp32", "tf32", "bf16", "fp16"),
    "fp64": ("fp64", "fp32", "tf32", "bf16", "fp16"),
    "fp8": ("fp8", "bf16", "fp16", "tf32", "fp32"),
    "fp4": ("fp4", "fp8", "bf16", "fp16", "tf32", "fp32"),
    "int8": ("int8", "fp8", "bf16", "fp16", "tf32", "fp32"),
    "int4": ("int4", "int8", "fp8", "bf16", "fp16", "tf32", "fp32"),
}
"""Where the curve of a dtype comes from when the device has none for it, best first."""


@functools.cache
def _file() -> Mapping[str, Any]:
    return tomllib.loads((Path(__file__).parent / "data" / "efficiency.toml").read_text())


def _table() -> tuple[Mapping[str, Any], ...]:
    return tuple(_file()["efficiency"])


def _pick(name: str, architecture: str, kind: str) -> tuple[Mapping[str, Any], str]:
    """The table to use, and how its source is to be read."""
    for key, wanted, remark in (
        ("device", name, ""),
        ("architectures", architecture, f"not measured on {name}; taken from its relative {{}}: "),
        ("kinds", kind, f"not measured on {name}, nor on any {architecture}; taken from {{}}: "),
    ):
        for table in _table():
            if wanted in ([table["device"]] if key == "device" else table.get(key, ())):
                return table, remark.format(table["device"])
    raise AssertionError(f"efficiency.toml has no constants for the kind {kind!r}")


def _curve(curves: Mapping[str, Mapping[str, Any]], dtype: str, remark: str, source: str) -> MatmulCurve:
    nearest = next((known for known in _NEAREST[dtype] if known in curves), next(iter(curves)))
    raw = dict(curves[nearest])
    raw = {**_file()["shapes"].get(raw.pop("shape", None), {}), **raw}
    own = raw.pop("source", source)
    taken = "" if nearest == dtype else f"taken from {nearest}: "
    return MatmulCurve(**raw, source=f"{remark}{taken}{own}")


def efficiency_of(name: str, architecture: str, kind: str, dtypes: Iterable[str]) -> tuple[Efficiency, float]:
    """The efficiency of a device for each dtype it has a peak for, and the least seconds one kernel takes."""
    raw, remark = _pick(name, architecture, kind)
    made = Efficiency(
        matmul={dtype: _curve(raw["matmul"], dtype, remark, raw["source"]) for dtype in dtypes},
        attention_forward=Saturation(**raw["attention_forward"]),
        attention_backward=Saturation(**raw["attention_backward"]),
        stream=Saturation(**raw["stream"]),
        reduction=raw.get("reduction", REDUCTION),
        rows={name: RowKernel(**values) for name, values in _file()["rows"].items()},
        transcendental_per_s=raw.get("transcendental_per_s"),
        source=f"{remark}{raw['source']}",
    )
    return made, float(raw["launch_s"])
