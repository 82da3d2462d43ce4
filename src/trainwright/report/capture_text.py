"""What a capture found, on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trainwright.units import format_bytes, format_count, format_rate


def capture_text(found: Mapping[str, Any]) -> RenderableType:
    """Totals, blocks, costliest ops, and what could not be known, from ``capture.summary``."""
    parts: list[RenderableType] = [Text(_totals(found)), _blocks(found), _largest(found)]
    parts += [Text(line) for line in _doubts(found)]
    return Group(*parts)


def _flop(value: float) -> str:
    return format_rate(value, "FLOP")


def _totals(found: Mapping[str, Any]) -> str:
    size = f"batch {found['batch']}" + (f", sequence {found['seq']}" if found["seq"] else "")
    size += f", {found['precision']}"
    lines = [
        f"{found['name']} ({found['family']}): {format_count(found['parameters'])} parameters; {size}",
        f"  forward {_flop(found['forward_flop'])}, backward {_flop(found['backward_flop'])},"
        f" {found['n_ops']} kernels a step",
        f"  kept for backward {format_bytes(found['saved_bytes'])}; parameters, buffers and inputs"
        f" {format_bytes(found['state_bytes'])}",
        f"  peak of forward and backward {format_bytes(found['peak_bytes'])} in {found['peak_at']}",
        f"  a pipeline may cut at {found['n_cuts']} places; tensor plan:"
        f" {'known, ' + str(len(found['tensor_plan'])) + ' entries' if found['tensor_plan'] else 'none known'}",
    ]
    if found["inference"]:
        alone = found["inference"]
        lines.append(
            f"  inference alone: {_flop(alone['flop'])} in {alone['n_ops']} kernels that move"
            f" {format_bytes(alone['moved_bytes'])}; at most {format_bytes(alone['beside_bytes'])} beside the weights"
        )
    return "\n".join(lines)


def _blocks(found: Mapping[str, Any]) -> Table:
    table = Table(title=None, box=None, pad_edge=False)
    for name in ("block", "repeats", "parameters", "forward", "kept", "to the next", "ops"):
        table.add_column(name, justify="left" if name == "block" else "right")
    for block in found["blocks"]:
        table.add_row(
            block["name"], str(block["repeats"]), format_count(block["parameters"]), _flop(block["forward_flop"]),
            format_bytes(block["saved_bytes"]), format_bytes(block["boundary_bytes"]), str(block["n_ops"]),
        )  # fmt: skip
    return table


def _largest(found: Mapping[str, Any]) -> Table:
    table = Table(title=None, box=None, pad_edge=False)
    for name in ("costliest op", "kind", "in", "times", "forward", "share", "split"):
        table.add_column(name, justify="right" if name in ("times", "forward", "share") else "left")
    whole = max(found["forward_flop"], 1.0)
    for op in found["largest"]:
        if op["forward_flop"]:
            table.add_row(
                op["op"], op["kind"], op["block"], str(op["times"]), _flop(op["forward_flop"]),
                f"{100 * op['forward_flop'] / whole:.1f} %", op["split"],
            )  # fmt: skip
    return table


_FAKE = "give it a fake kernel (torch.library.register_fake) and a FLOP-bearing form"


def _reason(text: str) -> str:
    """Torch's own reason, without its advice, which is for its compiler."""
    return text.split(". ")[0].split(", but ")[0]


def _doubts(found: Mapping[str, Any]) -> list[str]:
    lines = [f"note: {note}" for note in found["notes"]]
    lines += [
        f"guessed: {g['op']} at {g['line']} taken as {g['taken']} ({g['times']} time{'s' if g['times'] > 1 else ''})"
        for g in found["guesses"]
    ]
    lines += [
        f"not captured: {u['op']} at {u['line']}: {_reason(u['reason'])}; to include it, "
        + ("do it with torch's ops" if u["op"].startswith("Tensor.") else _FAKE)
        for u in found["unknown"]
    ]
    if found["unknown"]:
        lines += [f"{100 * found['unknown_flop_share']:.1f} % of the bytes moved are in ops that are not known"]
    return lines
