"""Fit latency, efficiency and ramp of links from published all-reduces and sends.

    python -m tools.fit_collectives          write the constants into src/trainwright/hardware/data/links.toml
    python -m tools.fit_collectives --check  each system from the others' constants; the table into docs/accuracy.md

A link has three constants: seconds a step, share of the bandwidth, bytes at which the ramp turns. They belong to the
link; every system on it shares them. Left out, a system takes the median over the other links of the same place
(inside a node, or between) of each constant, the ramp scaled by bandwidth.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.optimize import minimize
from tools.fit_kernels import ACCURACY, replace_section
from tools.measured_ops import Array, rows

from trainwright.cost.network import Span, collective_s
from trainwright.hardware.catalogue import link
from trainwright.hardware.link import Link

LINKS = Path(__file__).resolve().parents[1] / "src/trainwright/hardware/data/links.toml"
LEAST_BYTES = 16e3


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One published system: how its rows begin, and its links in the catalogue."""

    gpu: str
    source: str
    intra: str
    inter: str | None = None


SYSTEMS = (
    System(gpu="A100 80GB SXM (DGX)", source="vidur", intra="NVLink-3"),
    System(gpu="A100 SXM (8x, NVLink3)", source="stas00", intra="NVLink-3"),
    System(gpu="H100 SXM (DGX)", source="vidur", intra="NVLink-4"),
    System(gpu="H200 SXM 141GB", source="stas00", intra="NVLink-4"),
    System(gpu="B200 SXM 180GB", source="stas00", intra="NVLink-5", inter="EFA-3200-per-8"),
    System(gpu="H100 80GB SXM (p5.48xlarge)", source="awsome", intra="NVLink-4", inter="EFA-3200-per-8"),
    System(gpu="A100 80GB SXM (p4de.24xlarge)", source="awsome", intra="NVLink-3", inter="EFA-400-per-8"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Times by size of one collective over ``n_ranks`` on ``n_nodes``."""

    system: System
    kind: Literal["all_reduce", "p2p"]
    n_nodes: int
    n_ranks: int
    message_bytes: Array
    seconds: Array

    @property
    def slow(self) -> str:
        """The link that paces it."""
        return self.system.intra if self.n_nodes == 1 else str(self.system.inter)


def published() -> list[Sizes]:
    """Every series of a known system, from 16 kB up."""
    series: dict[tuple[System, Literal["all_reduce", "p2p"], int, int], list[tuple[float, float]]] = {}
    for row in rows("collectives"):
        if row["op"] not in ("all_reduce", "send_recv") or not (row["nodes"].isdigit() and row["ranks"].isdigit()):
            continue
        for system in SYSTEMS if re.fullmatch(r"[0-9.e+]+", row["size_bytes"]) else ():
            n_nodes, size = int(row["nodes"]), float(row["size_bytes"])
            if not row["gpu"].startswith(system.gpu) or system.source not in row["source"] or size < LEAST_BYTES:
                continue
            if n_nodes == 1 or system.inter:
                seconds = float(row["latency_us"]) / 1e6 if row["latency_us"] else size / float(row["algbw"]) / 1e9
                kind: Literal["all_reduce", "p2p"] = "all_reduce" if row["op"] == "all_reduce" else "p2p"
                series.setdefault((system, kind, n_nodes, int(row["ranks"])), []).append((size, seconds))
    return [
        Sizes(system=s, kind=kind, n_nodes=n, n_ranks=r, message_bytes=np.array(v).T[0], seconds=np.array(v).T[1])
        for (s, kind, n, r), v in series.items()
        if len(v) >= 5
    ]


def errors(sizes: Sizes, links: Mapping[str, Link]) -> Array:
    """log(predicted / measured)."""
    intra = links[sizes.system.intra]
    inter = links[sizes.system.inter] if sizes.system.inter else intra
    where = Span(n_ranks=sizes.n_ranks, ranks_per_node=sizes.n_ranks // sizes.n_nodes, intra=intra, inter=inter)
    found: Array = np.log(np.asarray(collective_s(sizes.kind, sizes.message_bytes, where)) / sizes.seconds)
    return found


def fit(series: Sequence[Sizes]) -> dict[str, Link]:
    """Constants of every link: those inside nodes first, then those between."""
    links = {name: link(name) for s in SYSTEMS for name in (s.intra, s.inter) if name}
    for within in (True, False):
        for name in sorted({s.slow for s in series if (s.n_nodes == 1) == within}):
            mine = [s for s in series if s.slow == name and (s.n_nodes == 1) == within]

            def total(point: Array, name: str = name, mine: Sequence[Sizes] = mine) -> float:
                changed = links | {name: moved(links[name], point)}
                return sum(float(np.minimum(np.abs(errors(s, changed)), 1.0).mean()) for s in mine)

            start = np.array([np.log(3e-6 if within else 2e-5), 0.8, np.log(2e7)])
            simplex = np.vstack([start, start + np.diag([0.7, 0.1, 1.0])])
            point = minimize(total, start, method="Nelder-Mead", options={"maxfev": 400, "initial_simplex": simplex}).x
            links[name] = moved(links[name], point)
    return links


def moved(old: Link, point: Array) -> Link:
    """The link with these constants."""
    efficiency, half = float(np.clip(point[1], 0.3, 1.05)), float(np.exp(point[2]))
    return replace(old, latency_s=float(np.exp(point[0])), efficiency=efficiency, half_bytes=half)


def without(series: Sequence[Sizes], system: System) -> dict[str, Link]:
    """Links as the other systems show them; one that only this system has takes its relatives' medians."""
    others = [s for s in series if s.system != system]
    links = fit(others)
    for within, name in ((True, system.intra), (False, system.inter)):
        if name is None or any(s.slow == name and (s.n_nodes == 1) == within for s in others):
            continue
        kin = [links[other] for other in {s.slow for s in others if (s.n_nodes == 1) == within}]
        links[name] = replace(
            links[name],
            latency_s=float(np.median([other.latency_s for other in kin])),
            efficiency=float(np.median([other.efficiency for other in kin])),
            half_bytes=float(np.median([k.half_bytes / k.bytes_per_s for k in kin])) * links[name].bytes_per_s,
        )
    return links


def check(series: Sequence[Sizes]) -> list[str]:
    """The section of docs/accuracy.md."""
    links = fit(series)
    lines = ["| system | collective | nodes x ranks | sizes | fitted | left out |", "|---|---|---|---:|---:|---:|"]
    fitted, blind = [], []
    for s in series:
        own, others = (np.abs(np.expm1(errors(s, table))) for table in (links, without(series, s.system)))
        fitted.append(own)
        blind.append(others)
        name = f"{s.system.gpu} ({s.system.source})"
        shape = f"{s.n_nodes} x {s.n_ranks // s.n_nodes}"
        lines.append(f"| {name} | {s.kind} | {shape} | {len(own)} | {np.median(own):.1%} | {np.median(others):.1%} |")
    every, all_blind = np.concatenate(fitted), np.concatenate(blind)
    return [*lines, f"| all, median | | | {len(every)} | {np.median(every):.1%} | {np.median(all_blind):.1%} |"]


def write(links: Mapping[str, Link]) -> None:
    """The three constants, in place."""
    text = LINKS.read_text()
    for name, found in links.items():
        begin = text.index(f'name = "{name}"\n')
        end = text.find("[[link]]", begin)
        end = len(text) if end < 0 else end
        entry = text[begin:end]
        for key, value in (
            ("latency_us", found.latency_s * 1e6),
            ("efficiency", found.efficiency),
            ("half_mb", found.half_bytes / 1e6),
        ):
            entry = re.sub(rf"^{key} = .*$", f"{key} = {value:.3g}", entry, flags=re.MULTILINE)
        text = text[:begin] + entry + text[end:]
    LINKS.write_text(text)


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="leave one system out at a time")
    series = published()
    if parser.parse_args().check:
        lines = check(series)
        print("\n".join(lines))
        ACCURACY.write_text(replace_section(ACCURACY.read_text(), "collectives", lines))
    else:
        write(fit(series))


if __name__ == "__main__":
    main()
