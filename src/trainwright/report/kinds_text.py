"""Kinds of nets beside each other on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table

from trainwright.units import format_bytes, format_count, format_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class KindLine:
    """One kind at ``n_positions``: FLOP of a step and bytes kept for backward, a sample; kernels of a step.

    ``growth``: exponents of FLOP, kept bytes and kernels with the positions.
    """

    name: str
    purpose: str
    counts: str
    n_positions: int
    n_parameters: int
    flop: float
    saved_bytes: float
    n_kernels: int
    growth: tuple[float, float, float]

    @property
    def flop_per_kernel(self) -> float:
        """How much there is to do side by side, for one sample."""
        return self.flop / self.n_kernels


def kinds_text(lines: Sequence[KindLine]) -> RenderableType:
    """The table; kernels follow each other, so that many small ones cannot be sped up by more processors."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    heads = ("", "for", "params", "FLOP", "grows", "kept", "grows", "kernels", "grows", "FLOP/kernel")
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index < 2 else "right", no_wrap=index < 1)
    for line in lines:
        grows = [f"n^{power:.1f}" if power > 0.05 else "-" for power in line.growth]
        table.add_row(
            line.name, line.purpose, format_count(line.n_parameters), format_rate(line.flop, "FLOP"), grows[0],
            format_bytes(line.saved_bytes), grows[1], str(line.n_kernels), grows[2],
            format_rate(line.flop_per_kernel, "FLOP"),
        )  # fmt: skip
    n = lines[0].n_positions
    said = (
        f"A step's forward and backward for one sample of n = {n} pixels, words, units or nodes. Kernels come one after"
    )
    return Group(table, "", f"{said} the other: where their number grows, more processors do not help.")
