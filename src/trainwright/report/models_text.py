"""Models on the terminal: a list, or one with its figures and the ops of its blocks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from trainwright.models.figures import Figures, figures
from trainwright.models.flop import op_forward_flop
from trainwright.models.saved import op_saved_bytes
from trainwright.models.spec import Block, ModelSpec
from trainwright.units import format_bytes, format_count, format_rate

NONE = "-"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index == 0)
    return table


def model_list(models: Sequence[tuple[ModelSpec, int]]) -> RenderableType:
    """One line a model, each at its sequence length."""
    table = _table("model", "family", "parameters", "active", "blocks", "longest", "forward FLOP")
    for model, seq in models:
        found = figures(model, seq)
        active = format_count(found.active_parameters) if found.active_parameters < found.parameters else NONE
        table.add_row(
            model.name,
            model.family,
            format_count(found.parameters),
            active,
            str(model.n_blocks),
            f"{model.max_seq:,}",
            format_rate(found.forward_flop, "FLOP"),
        )
    note = f"{len(models)} models; forward FLOP a token, or an image; name one for its memory and ops"
    return Group(table, "", f"[dim]{note}[/dim]")


def model_text(model: ModelSpec, seq: int) -> RenderableType:
    """One model in full."""
    found = figures(model, seq)
    parts: list[RenderableType] = [f"[bold]{escape(model.name)}[/bold] ({model.family}): {escape(model.source)}", ""]
    parts += [summary(model, found), ""]
    parts += [block_table(model, seq)]
    return Group(*parts)


def summary(model: ModelSpec, found: Figures) -> Table:
    """The figures, one a line."""
    one = "an image" if model.unit == "images" else f"a {model.unit.removesuffix('s')}"
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    tied = f", {format_count(model.n_tied_parameters)} used twice" if model.n_tied_parameters else ""
    table.add_row("parameters", f"{found.parameters:,}{tied}")
    if found.active_parameters < found.parameters:
        table.add_row("  a token passes", f"{found.active_parameters:,}")
    table.add_row(f"forward FLOP {one}", format_rate(found.forward_flop, "FLOP"))
    table.add_row(f"backward FLOP {one}", format_rate(found.backward_flop, "FLOP"))
    table.add_row(f"kept for backward {one}, bf16", format_bytes(found.saved_bytes))
    if found.kv_cache_bytes:
        table.add_row(f"KV cache {one}, bf16", format_bytes(found.kv_cache_bytes))
    table.add_row("kernels forward / backward, eager", f"{found.kernels:,} / {found.backward_kernels:,}")
    table.add_row("sequence" if model.unit == "tokens" else "positions", f"{found.seq:,}")
    return table


def block_table(model: ModelSpec, seq: int) -> Table:
    """Every distinct block's ops: parameters, FLOP and kept bytes of one sample, kernels, and how tp divides it."""
    table = _table("block / op", "parameters", "FLOP a sample", "kept a sample", "kernels", "splits by")
    seen: list[Block] = []
    for block in model.blocks:
        if any(block.ops == other.ops for other in seen):
            continue
        seen += [block]
        times = sum(other.repeats for other in model.blocks if other.ops == block.ops)
        table.add_row(f"{block.name} x {times}", format_count(block.n_parameters), style="bold")
        for op in block.ops:
            flop, kept = float(op_forward_flop(op, 1, seq)), float(op_saved_bytes(op, 1, seq))
            table.add_row(
                f"  {op.name}",
                format_count(op.n_parameters) if op.n_parameters else NONE,
                format_rate(flop, "FLOP") if flop else NONE,
                format_bytes(kept) if kept else NONE,
                str(op.n_kernels),
                NONE if op.split == "none" else op.split,
            )
    return table
