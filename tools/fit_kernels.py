"""Fit what share of its datasheet each device reaches, from published single-op measurements.

    python -m tools.fit_kernels            rebuild src/trainwright/hardware/data/efficiency.toml
    python -m tools.fit_kernels --check    leave one device out at a time; write the tables into docs/accuracy.md

What is fitted: the shape of the matmul curve (half_k, half_side, wave, traffic) once for plain cores and once for
matrix units; one ``best`` for each device and kind of unit, and what a part's power leaves of it; the streaming and
reducing shares of each device; what norms and softmax read again (tools/fit_rows.py); the attention shares. A source's
own overhead per op (one number a source) is fitted beside them and stays here: it is the harness's, not the device's.
Devices without measurements keep tools/efficiency_quoted.toml, with the shared shapes.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from tools.fit_rows import Rows, changed, fit_rows, loss, row_errors, stream_of
from tools.kernel_kin import fit_knee, generation, has_slots, limited, median_of, unit
from tools.measured_ops import Array, Samples, samples

from trainwright.cost.matmul import Product, matmul_s
from trainwright.cost.pointwise import stream_s
from trainwright.hardware.catalogue import device
from trainwright.hardware.device import Device, MatmulCurve, Saturation

ROOT = Path(__file__).resolve().parents[1]
QUOTED, MADE = ROOT / "tools/efficiency_quoted.toml", ROOT / "src/trainwright/hardware/data/efficiency.toml"
ACCURACY = ROOT / "docs/accuracy.md"
BATCHED_TILE = {"Ampere-GA100": 128}
"""Architectures whose library multiplies all batches of fp32 with one tile (kernel names in the NeuSight table)."""
STREAM_OVERHEAD_S = {"neusight-vector": 1.5e-5}
"""What a source's timing adds to each op (NeuSight's events bracket the launch as well)."""
STREAM_HALF_BYTES = 2e6
GRID = np.linspace(0.3, 1.4, 56)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What devices of one kind of unit share."""

    half_k: float
    half_side: float
    wave: float
    traffic: float
    burst_s: float
    knee: float
    overhead_s: Mapping[str, float]


def unit_of(group: Samples) -> str:
    """Which unit multiplies a group's products."""
    return unit(group.device, group.dtype)


def errors(group: Samples, made: Device) -> Array:
    """log(predicted / measured) of each sample that is no product."""
    sizes = group.sizes.T
    if group.kind == "stream":
        seconds = stream_s(sizes[0], made) + STREAM_OVERHEAD_S.get(group.source, 0.0)
    else:
        share = getattr(made.efficiency, group.kind).share(sizes[0])
        seconds = made.launch_s + sizes[0] / (made.flop_per_s[group.dtype] * share)
    found: Array = np.log(np.asarray(seconds) / group.seconds)
    return found


def product_errors(group: Samples, best: float, shape: Shape) -> Array:
    """The same of products: a part that its power holds back starts them at its full clock.

    Harnesses run each for a moment, a training run for hours: ``best`` is of the latter, and reached in products far
    longer than ``burst_s``.
    """
    made = with_curve(group, best, shape)
    sizes = group.sizes.T
    product = Product(m=sizes[0], n=sizes[1], k=sizes[2], count=sizes[3])
    work_s = np.asarray(matmul_s(product, group.dtype, made)) - made.launch_s
    held = limited(group.device, unit_of(group), shape.knee)
    seconds = made.launch_s + work_s * (held + (1.0 - held) * work_s / (work_s + shape.burst_s))
    found: Array = np.log(seconds / group.seconds)
    return found


def with_curve(group: Samples, best: float, shape: Shape) -> Device:
    """The device with this curve for the group's dtype and its source's overhead."""
    base = device(group.device)
    tile = BATCHED_TILE.get(base.architecture) if unit_of(group) == "vector" else None
    curve = MatmulCurve(
        best=best,
        half_k=shape.half_k,
        half_side=shape.half_side,
        wave=shape.wave,
        traffic=shape.traffic,
        tiles="vector" if unit_of(group) == "vector" else "tensor",
        batched_tile=tile,
        n_units=base.n_units or 132,
    )
    efficiency = replace(base.efficiency, matmul={group.dtype: curve})
    return replace(base, efficiency=efficiency, launch_s=shape.overhead_s.get(group.source, 4e-6))


def fit_bests(groups: Sequence[Samples], shape: Shape) -> dict[str, float]:
    """The share of the peak of each device, given the shape."""
    bests = {}
    for name in sorted({group.device for group in groups}):
        mine = [group for group in groups if group.device == name]
        losses = [
            sum(loss(product_errors(group, best, shape)) * float(len(group.seconds)) for group in mine) for best in GRID
        ]
        bests[name] = round(float(GRID[int(np.argmin(losses))]), 2)
    return bests


def fit_matmuls(groups: Sequence[Samples], rounds: int = 2) -> tuple[Shape, dict[str, float]]:
    """Shape and bests by turns: a grid for each best, Nelder-Mead for what is shared."""
    sources = sorted({group.source for group in groups})

    def shape_of(point: Array, knee: float) -> Shape:
        overheads = np.exp(np.clip(point[5:], np.log(1e-6), np.log(6e-5)))
        return Shape(
            half_k=float(np.clip(np.exp(point[0]), 1.0, 600.0)),
            half_side=float(np.clip(np.exp(point[1]), 0.1, 100.0)),
            wave=float(np.clip(point[2], 0.0, 1.0)),
            traffic=float(np.clip(point[3], 1.0, 2.0)),
            burst_s=float(np.clip(np.exp(point[4]), 1e-5, 1e-2)),
            knee=knee,
            overhead_s=dict(zip(sources, overheads.tolist(), strict=True)),
        )

    point = np.array([np.log(60.0), np.log(16.0), 0.3, 1.2, np.log(1e-3), *[np.log(1e-5)] * len(sources)])
    knee, bests = 0.0, {}
    for _ in range(rounds):
        bests = fit_bests(groups, shape_of(point, knee))
        knee = fit_knee(bests, unit_of(groups[0]))

        def total(at: Array, knee: float = knee, bests: dict[str, float] = bests) -> float:
            shape = shape_of(at, knee)
            return float(np.mean([loss(product_errors(g, bests[g.device], shape)) for g in groups]))

        steps = np.diag([0.5, 0.5, -0.2, 0.2, 0.5, *[0.4] * len(sources)])
        start = np.vstack([point, point + steps])
        point = minimize(total, point, method="Nelder-Mead", options={"maxfev": 300, "initial_simplex": start}).x
    shape = shape_of(point, knee)
    return shape, fit_bests(groups, shape)


def fit_saturation(group: Samples) -> Saturation:
    """best and half of an attention share."""

    def total(point: Array) -> float:
        share = Saturation(best=float(point[0]), half=float(np.exp(point[1])))
        return loss(errors(group, changed(group.device, **{group.kind: share})))

    half = np.log(np.median(group.sizes[:, 0]) / 10.0)
    start = np.array([[0.8, half], [1.0, half], [0.8, half + 2.0]])
    point = minimize(total, start[0], method="Nelder-Mead", options={"maxfev": 300, "initial_simplex": start}).x
    return Saturation(best=round(float(point[0]), 3), half=float(f"{np.exp(point[1]):.2g}"))


def fit_streams(groups: Iterable[Samples]) -> dict[str, dict[str, Any]]:
    """Streaming shares of each device, what its norms and softmax reach of them, and its attention shares."""
    made: dict[str, dict[str, Any]] = {}
    for group in sorted(groups, key=lambda g: g.kind != "stream"):
        mine = made.setdefault(group.device, {})
        if group.kind == "stream":
            tried = [Saturation(best=float(share), half=STREAM_HALF_BYTES) for share in GRID]
            losses = [loss(errors(group, changed(group.device, stream=share))) for share in tried]
            mine["stream"] = tried[int(np.argmin(losses))]
        elif group.kind == "reduction":
            streams = stream_s(
                8.0 * group.sizes[:, 0] * group.sizes[:, 1], changed(group.device, **stream_of(group.device, made))
            )
            over_s = STREAM_OVERHEAD_S[group.source]
            losses = [loss(np.log((np.asarray(streams) / share + over_s) / group.seconds)) for share in GRID]
            mine["reduction"] = float(GRID[int(np.argmin(losses))])
        else:
            mine[group.kind] = fit_saturation(group)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Everything fitted: shapes and bests by kind of unit, and the other shares by device."""

    shapes: Mapping[str, Shape]
    bests: Mapping[str, Mapping[str, float]]
    streams: Mapping[str, Mapping[str, Any]]
    rows: Rows


def fit(groups: Sequence[Samples]) -> Fit:
    """The whole fit of these samples. fp32 of matrix units has only its best, the shapes being those of 16 bits."""
    products = [group for group in groups if group.kind == "matmul"]
    vector, plain = fit_matmuls([g for g in products if unit_of(g) == "vector"])
    tensor, matrix = fit_matmuls([g for g in products if unit_of(g) == "tensor" and g.dtype != "fp32"])
    tensor = replace(tensor, overhead_s={**vector.overhead_s, **tensor.overhead_s})  # a source's, whatever it times
    wide = fit_bests([g for g in products if unit_of(g) == "tensor" and g.dtype == "fp32"], tensor)
    streams = fit_streams(g for g in groups if g.kind != "matmul")
    return Fit(
        shapes={"vector": vector, "tensor": tensor},
        bests={"vector": plain, "tensor": matrix | wide},
        streams=streams,
        rows=fit_rows([g for g in groups if g.kind == "reduction"], streams),
    )


def best_of_relatives(name: str, kind: str, made: Fit) -> float:
    """The median best of its kin, each freed from its own power limit, held to this one's."""
    knee = made.shapes[kind].knee
    free = ((other, best / limited(other, kind, knee)) for other, best in made.bests[kind].items())
    return round(median_of(free, name, has_slots if kind == "vector" else generation) * limited(name, kind, knee), 2)


def predicted(group: Samples, made: Fit) -> Array:
    """Errors with the device's own constants where the fit has them, else its relatives' medians."""
    if group.kind == "matmul":
        kind = unit_of(group)
        best = made.bests[kind].get(group.device) or best_of_relatives(group.device, kind, made)
        return product_errors(group, best, made.shapes[kind])
    own = dict(made.streams.get(group.device, {})) | stream_of(group.device, made.streams)
    if group.kind == "reduction":
        return row_errors(group, changed(group.device, stream=own["stream"]), made.rows)
    if group.kind not in own:
        known = [(name, parts[group.kind]) for name, parts in made.streams.items() if group.kind in parts]
        best = median_of(((name, share.best) for name, share in known), group.device, generation)
        half = median_of(((name, share.half) for name, share in known), group.device, generation)
        own[group.kind] = Saturation(best=best, half=half)
    return errors(group, changed(group.device, **own))


def table(groups: Sequence[Samples], fits: Callable[[Samples], Fit]) -> list[str]:
    """Lines of a Markdown table: error of each group, and the medians."""
    heads = ("device", "dtype", "source", "op", "samples", "median error", "within 20 %")
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|---:|---:|---:|"]
    medians, every = [], []
    for group in groups:
        off = np.abs(np.expm1(predicted(group, fits(group))))
        medians.append(float(np.median(off)))
        every.append(off)
        cells = (group.device, group.dtype, group.source, group.kind.replace("_", " "), str(len(off)))
        lines.append(f"| {' | '.join(cells)} | {np.median(off):.1%} | {np.mean(off < 0.2):.0%} |")
    together = np.concatenate(every)
    middle = f"{np.median(together):.1%}, of groups {np.median(medians):.1%}"
    return [*lines, f"| all | | | | {len(together)} | {middle} | {np.mean(together < 0.2):.0%} |"]


def check(groups: Sequence[Samples], everything: Fit) -> list[str]:
    """The section of docs/accuracy.md: each device left out, and all fitted."""
    without: dict[str, Fit] = {}

    def left_out(group: Samples) -> Fit:
        if group.device not in without:
            without[group.device] = fit([other for other in groups if other.device != group.device])
        return without[group.device]

    blind, fitted = table(groups, left_out), table(groups, lambda _: everything)
    return [
        "Each device's constants from others only (its architecture, else its kin, else all), its datasheet beside:",
        "",
        *blind,
        "",
        f"With the device's own constants: {fitted[-1].split('|')[6].strip()}.",
    ]


def reached(name: str, kind: str, groups: Sequence[Samples]) -> float:
    """The largest share of the peak that any product of a device's tables reached."""
    mine = (g for g in groups if g.kind == "matmul" and g.device == name and unit_of(g) == kind)
    peak = device(name).flop_per_s
    return max((float(np.max(2.0 * np.prod(g.sizes, axis=1) / g.seconds / peak[g.dtype])) for g in mine), default=0.0)


SLOW = 0.9
"""A table whose fastest product reaches a smaller share of the best published one timed something else besides."""


def curves(entry: Mapping[str, Any], made: Fit, groups: Sequence[Samples]) -> dict[str, dict[str, Any]]:
    """Curves of a GPU by dtype: fitted where measured, else from its best published matmul.

    A published best is of a large product in large tiles, so the share inside a tile is (side + half_side) / side
    higher. A dtype without a measurement of its own keeps its quote's ratio to the one fitted; one that nobody
    quotes is as its kin's. A table that is ``SLOW`` throughout gives way to the quote (B200: 0.66 in SimuMax's, 0.78
    published, and GB200 trains at as much).
    """
    name, quotes = entry["device"], entry["matmul"]
    found = {}
    for dtype, quote in quotes.items():
        kind = unit(name, dtype)
        if not quote:
            found[dtype] = {"shape": kind, "best": best_of_relatives(name, kind, made)}
            continue
        side = 64.0 if kind == "vector" else 256.0 * 128.0 / 384.0
        timed = next((g.dtype for g in groups if g.device == name and g.kind == "matmul" and unit_of(g) == kind), None)
        usual = "fp32" if kind == "vector" else "bf16"
        measured = (quotes.get(timed or usual) or quotes.get("fp16", quote))["best"]
        inside = quote["best"] * (side + made.shapes[kind].half_side) / side
        fitted = made.bests[kind].get(name) if reached(name, kind, groups) >= SLOW * measured else None
        best = inside if fitted is None else fitted * quote["best"] / measured
        found[dtype] = {"shape": kind, "best": round(min(best, 1.3), 3)}
        if kind == "vector" and device(name).architecture in BATCHED_TILE:
            found[dtype]["batched_tile"] = BATCHED_TILE[device(name).architecture]
    return found


def entries(made: Fit, groups: Sequence[Samples]) -> list[dict[str, Any]]:
    """Every table of efficiency.toml: the quoted ones and those of measured devices without a quote."""
    quoted: list[dict[str, Any]] = tomllib.loads(QUOTED.read_text())["efficiency"]
    by_architecture = {arch: entry for entry in quoted for arch in entry.get("architectures", ())}
    named = {entry["device"] for entry in quoted}
    for name in sorted({group.device for group in groups} - named):
        like = by_architecture[device(name).architecture]
        keep = {key: value for key, value in like.items() if key not in ("architectures", "kinds")}
        quoted.append(keep | {"device": name, "source": f"attention as {like['device']}"})
    out = []
    for entry in quoted:
        name = entry["device"]
        table_of = dict(entry)
        if device(name).kind == "gpu" and "Apple" not in name:
            table_of["matmul"] = curves(entry, made, groups)
        for part, share in made.streams.get(name, {}).items():
            table_of[part] = share if isinstance(share, float) else {"best": share.best, "half": share.half}
        rows = [f"{g.source} {g.kind}" for g in groups if g.device == name]
        fitted = f"fitted to {', '.join(sorted(set(rows)))} (tools/fit_kernels.py, 2026-11); else " if rows else ""
        table_of["source"] = fitted + entry["source"]
        out.append(table_of)
    return out


def write(made: Fit, groups: Sequence[Samples]) -> None:
    """efficiency.toml, as text."""
    lines = [
        "# What share of its datasheet a device reaches. Generated by tools/fit_kernels.py: do not edit.",
        "# Constants nobody measured come from tools/efficiency_quoted.toml. Read by hardware/efficiency.py.",
        "# architectures, kinds: this table also stands for their devices that have none of their own.",
        "# matmul: hardware/device.py, MatmulCurve; shapes are shared by all GPUs.",
        "",
    ]
    for kind, shape in made.shapes.items():
        values = {"half_k": shape.half_k, "half_side": shape.half_side, "wave": shape.wave, "traffic": shape.traffic}
        lines += [f"[shapes.{kind}]", f'tiles = "{kind}"', "n_units = 132"]
        lines += [*(f"{key} = {value:.3g}" for key, value in values.items()), ""]
    lines.append("[rows]")
    for name, kernel in made.rows.kernels.items():
        lines.append(f"{name} = {toml({'half': kernel.half, 'row_s': kernel.row_s})}")
    lines.append("")
    for entry in entries(made, groups):
        lines.append("[[efficiency]]")
        lines += [f"{key} = {toml(value)}" for key, value in entry.items() if key != "matmul"]
        lines += [f"matmul.{dtype} = {toml(curve)}" for dtype, curve in entry["matmul"].items()]
        lines.append("")
    MADE.write_text("\n".join(lines))


def toml(value: Any) -> str:
    """One value as TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    return f'"{value}"' if isinstance(value, str) else f"{value:.4g}" if isinstance(value, float) else repr(value)


def replace_section(text: str, name: str, lines: Sequence[str]) -> str:
    """The page with what stands between the marks of a generated section replaced."""
    begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
    head, rest = text.split(begin)
    return head + begin + "\n" + "\n".join(lines) + "\n" + end + rest.split(end)[1]


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="leave one device out at a time")
    groups = samples(300)
    made = fit(groups)
    if parser.parse_args().check:
        lines = check(groups, made)
        print("\n".join(lines))
        ACCURACY.write_text(replace_section(ACCURACY.read_text(), "single ops", lines))
    else:
        write(made, groups)


if __name__ == "__main__":
    main()
