"""Fit what norms and softmax read again, on all devices together: cost/rows.py, given how fast each device streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from tools.kernel_kin import generation, median_of
from tools.measured_ops import Array, Samples

from trainwright.cost.rows import layer_norm_s, softmax_s
from trainwright.hardware.catalogue import device
from trainwright.hardware.device import Device, RowKernel, Saturation

ROW_KINDS = ("layer_norm", "softmax")


def loss(found: Array) -> float:
    """Mean absolute error of the logarithm, each sample counting for one at most."""
    return float(np.minimum(np.abs(found), 1.0).mean())


def changed(name: str, **parts: Any) -> Device:
    """A catalogue device with other efficiencies."""
    base = device(name)
    return replace(base, efficiency=replace(base.efficiency, **parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Norms and softmax: what every device shares, and what the harness adds to an op of each."""

    kernels: Mapping[str, RowKernel]
    overhead_s: Mapping[str, float]


def row_errors(group: Samples, made: Device, rows: Rows) -> Array:
    """The same of norms and softmax."""
    made = replace(made, efficiency=replace(made.efficiency, rows=rows.kernels))
    n_rows, width, is_softmax = group.sizes.T
    norms = np.asarray(layer_norm_s(n_rows, width, 4.0, made)) + rows.overhead_s["layer_norm"]
    softmax = np.asarray(softmax_s(n_rows, width, 4.0, made)) + rows.overhead_s["softmax"]
    found: Array = np.log(np.where(is_softmax > 0.0, softmax, norms) / group.seconds)
    return found


def fit_rows(groups: Sequence[Samples], streams: Mapping[str, Mapping[str, Any]]) -> Rows:
    """What all devices share of norms and softmax, given how fast each streams."""

    def rows_of(point: Array) -> Rows:
        half, row_s, over = np.exp(np.clip(point.reshape(3, 2), np.log(1e-9), np.log(10.0)))
        return Rows(
            kernels={name: RowKernel(half=half[i], row_s=row_s[i]) for i, name in enumerate(ROW_KINDS)},
            overhead_s=dict(zip(ROW_KINDS, over.tolist(), strict=True)),
        )

    made = {group.device: changed(group.device, **stream_of(group.device, streams)) for group in groups}

    def total(point: Array) -> float:
        rows = rows_of(point)
        return float(np.mean([loss(row_errors(group, made[group.device], rows)) for group in groups]))

    point = np.log([0.6, 0.4, 5e-8, 3e-7, 4e-5, 3e-5])
    start = np.vstack([point, point + np.diag([0.5, 0.5, 0.7, 0.7, 0.4, 0.4])])
    return rows_of(minimize(total, point, method="Nelder-Mead", options={"maxfev": 600, "initial_simplex": start}).x)


def stream_of(name: str, streams: Mapping[str, Mapping[str, Any]]) -> dict[str, Saturation]:
    """The stream of a device where it was measured, else the median of its kin's."""
    if "stream" in streams.get(name, {}):
        return {"stream": streams[name]["stream"]}
    known = [(other, parts["stream"]) for other, parts in streams.items() if "stream" in parts]
    best, half = (median_of(((o, getattr(s, part)) for o, s in known), name, generation) for part in ("best", "half"))
    return {"stream": Saturation(best=best, half=half)}
