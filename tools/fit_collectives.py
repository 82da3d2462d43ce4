"""Fit latency, efficiency, ramp and start of links from published all-reduces and sends.

    python -m tools.fit_collectives          write the constants into src/trainwright/hardware/data/links.toml
    python -m tools.fit_collectives --check  each system from the others' constants; the table into docs/accuracy.md

A link has four constants: seconds a step, share of the bandwidth, bytes that a large message waits for, least seconds
of a collective. They belong to the link; every system on it shares them. Each is held, weakly, to what is usual
(PRIOR), or series of large messages only would leave the latency open. Left out, a system takes the median over the
other links of the same place (inside a node, or between) of each constant, the waiting bytes scaled by bandwidth.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
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
    """One published system: how its rows begin, and its links in the catalogue; ``ranks`` where it has one for few."""

    gpu: str
    source: str
    intra: str
    inter: str | None = None
    ranks: tuple[int, ...] = ()


SYSTEMS = (
    System(gpu="A100 80GB SXM (DGX)", source="vidur", intra="NVLink-3"),
    System(gpu="A100 SXM (8x, NVLink3)", source="stas00", intra="NVLink-3"),
    System(gpu="H100 SXM (DGX)", source="vidur", intra="NVLink-4"),
    System(gpu="H200 SXM 141GB", source="stas00", intra="NVLink-4"),
    System(gpu="B200 SXM 180GB", source="stas00", intra="NVLink-5", inter="EFA-3200-per-8"),
    System(gpu="H100 80GB SXM (p5.48xlarge)", source="awsome", intra="NVLink-4", inter="EFA-3200-per-8"),
    System(gpu="A100 80GB SXM (p4de.24xlarge)", source="awsome", intra="NVLink-3", inter="EFA-400-per-8"),
    System(gpu="A100 80GB PCIe, pairwise", source="vidur", intra="NVLink-3-bridge", ranks=(2,)),
    System(gpu="A100 80GB PCIe, pairwise", source="vidur", intra="PCIe-4-x16", ranks=(4,)),
    System(gpu="H100 NVL/PCIe, pairwise", source="vidur", intra="NVLink-4-bridge", ranks=(2,)),
    System(gpu="H100 NVL/PCIe, pairwise", source="vidur", intra="PCIe-5-x16", ranks=(4,)),
    System(gpu="GTX 1080 Ti", source="DeepBench", intra="PCIe-3-x16", ranks=(2, 4, 8)),
    System(gpu="Titan X (Pascal)", source="DeepBench", intra="PCIe-3-x16", ranks=(2, 4, 8)),
)

PRIOR = {True: (1.2e-6, 0.8, 8e-5, 4e-5), False: (1.5e-5, 0.8, 8e-5, 4e-5)}
"""Usual constants of a link inside a node, and between: seconds a step (NCCL's tuner: 0.6 to 3.4 us over NVLink), share
of the bandwidth, seconds at full rate of the waiting bytes, least seconds."""
PCIE_STEP_S = 5e-6  # NCCL's tuner: 1 to 5.7 us
PRIOR_SPREAD = np.array([0.2, 0.15, 1.0, 0.3])
PRIOR_WEIGHT = 0.01


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
        nodes = row["nodes"] or ("1" if "DeepBench" in row["source"] else "")  # its systems have up to 8 in one
        if row["op"] not in ("all_reduce", "send_recv") or not (nodes.isdigit() and row["ranks"].isdigit()):
            continue
        for system in SYSTEMS if re.fullmatch(r"[0-9.e+]+", row["size_bytes"]) else ():
            n_nodes, size = int(nodes), float(row["size_bytes"])
            if not row["gpu"].startswith(system.gpu) or system.source not in row["source"] or size < LEAST_BYTES:
                continue
            if (n_nodes == 1 or system.inter) and int(row["ranks"]) in (system.ranks or (int(row["ranks"]),)):
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

            links[name] = moved(links[name], best_point(total, usual(links[name], within)))
    return links


def best_point(total: Callable[[Array], float], start: Array) -> Array:
    """The constants of least loss and least distance from ``start``, from a simplex on either side of it."""

    def held(point: Array) -> float:
        return total(point) + PRIOR_WEIGHT * float(np.sum(((point - start) / PRIOR_SPREAD) ** 2))

    steps = np.diag([0.7, 0.1, 1.0, 0.4])
    found = [
        minimize(held, start, method="Nelder-Mead", options={"maxfev": 500, "initial_simplex": simplex})
        for simplex in (np.vstack([start, start + steps]), np.vstack([start, start - steps]))
    ]
    point: Array = min(found, key=lambda one: float(one.fun)).x
    return point


def usual(old: Link, within: bool) -> Array:
    """The point to start from: the logarithm of each constant but the share."""
    latency_s, share, waiting_s, start_s = PRIOR[within]
    latency_s = PCIE_STEP_S if old.name.startswith("PCIe") else latency_s
    return np.array([np.log(latency_s), share, np.log(waiting_s * old.bytes_per_s), np.log(start_s)])


def moved(old: Link, point: Array) -> Link:
    """The link with these constants."""
    latency_s, half_bytes, start_s = np.exp(point[[0, 2, 3]]).tolist()
    share = float(np.clip(point[1], 0.3, 1.0))
    return replace(old, latency_s=latency_s, efficiency=share, half_bytes=half_bytes, start_s=start_s)


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
            start_s=float(np.median([other.start_s for other in kin])),
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
    """The four constants, in place."""
    text = LINKS.read_text()
    for name, found in links.items():
        begin = text.index(f'name = "{name}"\n')
        end = text.find("[[link]]", begin)
        end = len(text) if end < 0 else end
        entry = text[begin:end]
        for key, value in (
            ("latency_us", found.latency_s * 1e6),
            ("efficiency", found.efficiency),
            ("start_us", found.start_s * 1e6),
            ("half_mb", found.half_bytes / 1e6),
        ):
            if f"\n{key} = " not in entry:
                entry = entry.replace("\nhalf_mb = ", f"\n{key} = 0\nhalf_mb = ")
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
