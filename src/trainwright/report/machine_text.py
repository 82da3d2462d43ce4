"""A measured machine as tables on the terminal: each division into processes, links, the staircase of its caches."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trainwright.hardware.cluster import Cluster
from trainwright.hardware.link import Link
from trainwright.hardware.machine import CachePoint, MachineProfile
from trainwright.units import format_bytes, format_rate, format_seconds

_BAR = 40


def machine_text(profile: MachineProfile) -> Group:
    """Everything the probe measured."""
    parts: list[RenderableType] = [_heading(profile), _divisions(profile)]
    parts += [_collectives(c, c.groups[0].intra) for c in profile.divisions if c.groups[0].intra.measured]
    if profile.caches:
        parts.append(_staircase(profile.caches))
    if profile.exercises:
        parts.append(_exercises(profile))
    if profile.learned:
        learned = ", ".join(f"{name} x {factor:.2f}" for name, factor in profile.learned.items())
        parts.append(Text(f"learned from runs: {learned} (drop it with `trainwright probe --forget`)"))
    return Group(*parts)


def _heading(profile: MachineProfile) -> Text:
    lines = [
        f"{profile.name}: {profile.description}",
        f"measured {profile.measured_at} in {profile.probe_s:.0f} s; readings {profile.spread:.1%} from their median",
    ]
    if profile.is_busy:
        lines.append("the machine was busy with other work: the figures are less sure (measure again with --fresh)")
    if profile.resident_bytes:
        lines.append(f"a training process holds {format_bytes(profile.resident_bytes)} besides its model")
    if profile.disk_bytes_per_s:
        lines.append(f"the cache's disk takes {format_rate(profile.disk_bytes_per_s, 'B/s')}, forced out")
    return Text("\n".join(lines))


def _divisions(profile: MachineProfile) -> Table:
    table = Table(title="What each process reaches while all of them work")
    table.add_column("")
    for cluster in profile.divisions:
        table.add_column(cluster.name, justify="right")
    devices = [cluster.groups[0].device for cluster in profile.divisions]
    for dtype in devices[0].flop_per_s:
        table.add_row(f"matmul {dtype}", *(format_rate(d.flop_per_s[dtype], "FLOP/s") for d in devices))
    for dtype, which in ((d, w) for d in devices[0].efficiency.attention_curves for w in ("forward", "backward")):
        curves = [device.efficiency.attention_curves[dtype] for device in devices]
        rates = (getattr(curve, f"{which}_flop_per_s") for curve in curves)
        table.add_row(f"attention {which} {dtype}, at best", *(format_rate(rate, "FLOP/s") for rate in rates))
    for i, (touched, _) in enumerate(devices[0].efficiency.stream_points):
        if i % 2 == 0:
            rates = (device.efficiency.stream_points[i][1] for device in devices)
            table.add_row(f"stream over {format_bytes(touched)}", *(format_rate(rate, "B/s") for rate in rates))
    exps = (device.efficiency.transcendental_per_s or 0.0 for device in devices)
    table.add_row("exponentials", *(format_rate(rate, "/s") for rate in exps))
    table.add_row("issuing a kernel", *(format_seconds(device.launch_s) for device in devices))
    table.add_row("memory", *(format_bytes(device.memory_bytes) for device in devices))
    return table


def _collectives(cluster: Cluster, link: Link) -> Table:
    line = f"{format_seconds(link.latency_s)} + {format_rate(link.bytes_per_s, 'B/s')}"
    table = Table(title=f"{link.name} between {cluster.name}: a line of {line}{_residual(link)}")
    table.add_column("bytes", justify="right")
    kinds = list(link.measured)
    for kind in kinds:
        table.add_column(kind, justify="right")
    first = link.measured[kinds[0]][0]
    for i, size in enumerate(first.message_bytes):
        row = []
        for kind in kinds:
            (measured,) = link.measured[kind]
            row.append(format_seconds(measured.seconds[i]) if i < len(measured.seconds) else "")
        table.add_row(format_bytes(size), *row)
    return table


def _residual(link: Link) -> str:
    """How far the line lies off at worst, of the sizes that were sent from one to another."""
    errors = [
        abs((link.latency_s + size / link.bytes_per_s) / seconds - 1.0)
        for sent in link.measured.get("p2p", ())
        for size, seconds in zip(sent.message_bytes, sent.seconds, strict=True)
    ]
    return f", p2p within {max(errors):.0%} of it" if errors else ""


def _staircase(caches: tuple[CachePoint, ...]) -> Table:
    """One bar a working set, as long as the logarithm of the wait: each cache is a stair."""
    from math import log

    table = Table(title="From the first cache to memory: what a dependent read waits")
    for name in ("working set", "wait", "", "in order"):
        table.add_column(name, justify="left" if name == "" else "right", no_wrap=True)
    most = max(point.latency_s for point in caches)
    least = min(point.latency_s for point in caches)
    for point in caches:
        share = log(point.latency_s / least) / max(log(most / least), 1e-9)
        bar = "#" * (1 + round(share * (_BAR - 1)))
        rate = format_rate(point.bytes_per_s, "B/s")
        table.add_row(format_bytes(point.working_set_bytes), format_seconds(point.latency_s), bar, rate)
    return table


def _exercises(profile: MachineProfile) -> Table:
    table = Table(title="Lessons")
    for name in ("lesson", "what", "took"):
        table.add_column(name)
    for exercise in profile.exercises:
        for i, (what, seconds) in enumerate(exercise.seconds.items()):
            table.add_row(exercise.name if i == 0 else "", what, format_seconds(seconds))
    return table
