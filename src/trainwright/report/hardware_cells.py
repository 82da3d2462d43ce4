"""The figures of a device as text: one function a metric, shared by the terminal and the page."""

from __future__ import annotations

from collections.abc import Callable

from trainwright.cost.reference import DESCRIPTION, reference_precision, reference_tokens_per_s
from trainwright.hardware.metrics import Metrics
from trainwright.units import format_bytes, format_count, format_rate, format_seconds

NONE = "-"
Cell = Callable[[Metrics], str]


def rate(flop_per_s: float | None) -> str:
    """A peak in TFLOP/s or the like, or a dash."""
    return NONE if flop_per_s is None else format_rate(flop_per_s, "FLOP/s")


def peak(dtype: str) -> Cell:
    """The cell of one dtype's dense peak."""
    return lambda one: rate(one.device.flop_per_s.get(dtype))


def clock(one: Metrics) -> str:
    """The boost clock."""
    hertz = one.device.boost_clock_hz
    return NONE if hertz is None else f"{hertz / 1e9:.2f} GHz"


def formula(one: Metrics) -> str:
    """cores x clock x 2, beside the datasheet's FP32 without matrix units."""
    if one.formula_flop_per_s is None:
        return NONE
    listed = one.device.vector_flop_per_s.get("fp32", one.device.flop_per_s.get("fp32"))
    off = "" if listed is None else f" ({one.formula_flop_per_s / listed - 1:+.0%})"
    return rate(one.formula_flop_per_s) + off.replace("+0%", "0%").replace("-0%", "0%")


def best_matmul(one: Metrics) -> str:
    """The best published matmul in 16 bits, else in any dtype, and its share of the peak."""
    if not one.best_matmuls:
        return NONE
    best = max(one.best_matmuls, key=lambda b: (b.dtype in ("bf16", "fp16"), b.flop_per_s))
    share = best.flop_per_s / one.device.flop_per_s[best.dtype]
    return f"{best.flop_per_s / 1e12:.0f} T {best.dtype} ({share:.0%})"


def throughput(one: Metrics) -> str:
    """Tokens per second of the reference step."""
    tokens_per_s = reference_tokens_per_s(one.device)
    return "does not fit" if tokens_per_s is None else f"{format_count(tokens_per_s)} {reference_precision(one.device)}"


def per_watt(one: Metrics) -> str:
    """Dense 16-bit peak over the power limit."""
    return NONE if one.flop_per_joule is None else format_rate(one.flop_per_joule, "FLOP/J")


def latency(one: Metrics) -> str:
    """The least time of a kernel, and of one step over the link."""
    link = NONE if one.link_latency_s is None else format_seconds(one.link_latency_s)
    return f"{format_seconds(one.device.launch_s)} / {link}"


def dollars(one: Metrics) -> str:
    """Dollars per device and hour."""
    return NONE if one.price is None else f"${one.price.dollars_per_device_hour:.2f}"


def dollars_dated(one: Metrics) -> str:
    """The price with its year."""
    return NONE if one.price is None else f"{dollars(one)}/h ({one.price.date[:7]})"


def bought(one: Metrics) -> str:
    """What one costs to buy."""
    return NONE if one.purchase is None else f"${one.purchase.dollars:,.0f} ({one.purchase.date})"


METRICS: tuple[tuple[str, Cell], ...] = (
    ("cores", lambda one: NONE if one.device.n_cores is None else f"{one.device.n_cores:,}"),
    ("clock", clock),
    ("memory", lambda one: format_bytes(one.device.memory_bytes)),
    ("bandwidth", lambda one: format_rate(one.device.memory_bytes_per_s, "B/s")),
    ("fp64 dense", peak("fp64")),
    ("fp32 dense", peak("fp32")),
    ("  cores x clock x 2", formula),
    ("tf32 dense", peak("tf32")),
    ("bf16 dense", peak("bf16")),
    ("fp16 dense", peak("fp16")),
    ("fp8 dense", peak("fp8")),
    ("fp4 dense", peak("fp4")),
    ("int8 dense", peak("int8")),
    ("  best published matmul", best_matmul),
    ("tokens/s, reference step", throughput),
    ("16-bit per watt", per_watt),
    ("latency: kernel / link", latency),
    ("features", lambda one: " ".join(one.features) or NONE),
    ("power", lambda one: NONE if one.device.power_w is None else f"{one.device.power_w:.0f} W"),
    ("price", dollars_dated),
    ("to buy", bought),
)
"""The ten metrics of a comparison, rates dtype by dtype, with what stands beside them."""

REFERENCE_NOTE = f"reference step: {DESCRIPTION}; predicted"
