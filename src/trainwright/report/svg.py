"""Small charts as SVG text: lines, points, bars and stacked bars, with axes that read well.

Colours are CSS variables of report/page.py, so that one chart serves light and dark; a chart needs nothing
from outside the file it stands in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 28, 44
N_COLOURS = 8

Format = Callable[[float], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Named points to be joined by a line, or drawn apart when ``joined`` is False."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    joined: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What an axis shows and how its numbers are written."""

    label: str
    format: Format = "{:g}".format
    log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: a label, and its parts from the axis outwards as (name, value)."""

    label: str
    parts: Sequence[tuple[str, float]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        if self.log:
            value, low, high = (math.log10(max(v, 1e-300)) for v in (value, self.low, self.high))
        else:
            low, high = self.low, self.high
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About ``n`` round numbers that span the range.

    >>> ticks(0, 9.3)
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    if high <= low:
        return [low]
    raw = (high - low) / n
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = max(1, len(powers) // 8)
    return [10.0**p for p in powers if low <= 10.0**p <= high and p % every == 0] or [low, high]


def line_chart(title: str, series: Sequence[Series], x_axis: Axis, y_axis: Axis) -> str:
    """Lines and points over common axes."""
    xs = [x for s in series for x in s.x]
    ys = [y for s in series for y in s.y if math.isfinite(y)]
    if not xs or not ys:
        return ""
    x_scale = _scale(xs, _LEFT, WIDTH - _RIGHT, x_axis.log)
    y_scale = _scale(ys, HEIGHT - _BOTTOM, _TOP, y_axis.log)
    body = _grid(x_scale, y_scale, x_axis, y_axis)
    for index, one in enumerate(series):
        body += _marks(one, x_scale, y_scale, f"c{index % N_COLOURS}")
    body += _legend([s.name for s in series]) if len(series) > 1 else ""
    return _svg(title, body, HEIGHT)


def _scale(values: Sequence[float], start: float, end: float, log: bool) -> _Scale:
    low, high = min(values), max(values)
    if log:
        return _Scale(low / 1.1, high * 1.1, start, end, True)
    margin = 0.05 * ((high - low) or abs(high) or 1.0)
    return _Scale(0.0 if 0 <= low < high / 3 else low - margin, high + margin, start, end, False)


def _grid(x_scale: _Scale, y_scale: _Scale, x_axis: Axis, y_axis: Axis) -> str:
    out = ""
    for value in _log_ticks(y_scale.low, y_scale.high) if y_axis.log else ticks(y_scale.low, y_scale.high):
        y = y_scale(value)
        out += f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        out += _text(_LEFT - 6, y + 4, y_axis.format(value), "end")
    for value in _log_ticks(x_scale.low, x_scale.high) if x_axis.log else ticks(x_scale.low, x_scale.high, 6):
        x = x_scale(value)
        out += _text(x, HEIGHT - _BOTTOM + 16, x_axis.format(value), "middle")
    out += _text((_LEFT + WIDTH) / 2, HEIGHT - 8, x_axis.label, "middle")
    return out + _text(_LEFT - 50, _TOP - 12, y_axis.label)


def _marks(series: Series, x_scale: _Scale, y_scale: _Scale, colour: str) -> str:
    points = [(x_scale(x), y_scale(y)) for x, y in zip(series.x, series.y, strict=True) if math.isfinite(y)]
    if series.joined:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        return f'<polyline class="line {colour}" points="{path}"/>'
    return "".join(f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in points)


def _legend(names: Sequence[str]) -> str:
    out, x = "", float(_LEFT + 60)
    for index, name in enumerate(names):
        out += f'<rect class="fill c{index % N_COLOURS}" x="{x}" y="{_TOP - 21}" width="10" height="10"/>'
        out += _text(x + 14, _TOP - 12, name)
        x += 30 + 6.6 * len(name)
    return out


def bar_chart(title: str, bars: Sequence[Bar], value_format: Format, limit: tuple[str, float] | None = None) -> str:
    """Horizontal bars, each a stack of parts; ``limit`` draws a named line across (say, the memory there is)."""
    if not bars:
        return ""
    names = list(dict.fromkeys(name for bar in bars for name, _ in bar.parts))
    left = 24 + 7 * max(len(bar.label) for bar in bars)
    most = max([sum(v for _, v in bar.parts) for bar in bars] + ([limit[1]] if limit else [])) or 1.0
    scale = _Scale(0.0, most * 1.02, left, WIDTH - 110, False)
    body, y = (_legend(names) if len(names) > 1 else ""), float(_TOP + 6)
    for bar in bars:
        body += _one_bar(bar, names, scale, y, value_format)
        y += 26
    if limit:
        x = scale(limit[1])
        body += f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{y:.1f}"/>'
        body += _text(x, y + 14, limit[0], "end")
    return _svg(title, body, int(y) + 24)


def _one_bar(bar: Bar, names: Sequence[str], scale: _Scale, y: float, value_format: Format) -> str:
    out, total = _text(scale.start - 8, y + 14, bar.label, "end"), 0.0
    for name, value in bar.parts:
        x, width = scale(total), scale(total + value) - scale(total)
        hover = escape(f"{name}: {value_format(value)}")
        colour = f"c{names.index(name) % N_COLOURS}"
        out += f'<rect class="fill {colour}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="18">'
        out += f"<title>{hover}</title></rect>"
        total += value
    return out + _text(scale(total) + 6, y + 14, value_format(total) + (f" {bar.note}" if bar.note else ""))


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, body: str, height: int) -> str:
    name = escape(title)
    return (
        f'<figure><figcaption>{name}</figcaption><svg role="img" aria-label="{name}" viewBox="0 0 {WIDTH} {height}" '
        f'xmlns="http://www.w3.org/2000/svg">{body}</svg></figure>'
    )
