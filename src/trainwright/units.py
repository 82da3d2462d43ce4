"""Text with units to base units, and back: bytes, FLOP, seconds, joules, dollars.

Parsed once, at the edge; inside the program every quantity is in base units and its name says which
(``_bytes``, ``_s``, ``_bytes_per_s``, ``_flop``). A number without a unit is refused where a unit is
needed: GB is not GiB, and a bit is not a byte.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from trainwright.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Number: TypeAlias = "float | NDArray[Any]"
"""One figure in base units, or an array of them: every formula takes either."""

_DECIMAL = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0,
    "day": 86400.0, "days": 86400.0, "hours": 3600.0, "hour": 3600.0, "minutes": 60.0, "weeks": 604800.0,
}  # fmt: skip
_COUNTS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_NUMBER = re.compile(r"^\s*([-+]?[0-9][0-9_,]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?)\s*(.*?)\s*$")


def _split(text: str, what: str, example: str) -> tuple[float, str]:
    match = _NUMBER.match(text)
    if match is None:
        raise InvalidInputError(f"{text!r} is not {what}", hint=f"write it like {example!r}")
    return float(match[1].replace("_", "").replace(",", "")), match[2]


def _scale(prefix: str, text: str, what: str, example: str) -> float:
    for table in (_BINARY, _DECIMAL):
        if prefix in table:
            return table[prefix]
    raise InvalidInputError(f"{text!r}: unknown prefix {prefix!r} for {what}", hint=f"write it like {example!r}")


def parse_bytes(text: str) -> float:
    """Bytes from text such as ``80 GiB`` or ``500 MB``.

    >>> parse_bytes("80 GiB") == 80 * 2**30, parse_bytes("80 GB")
    (True, 80000000000.0)
    """
    value, unit = _split(text, "a size in bytes", "80 GiB")
    if not unit.endswith("B"):
        hint = (
            "a bit is not a byte: write bytes, as in '80 GiB'"
            if unit.endswith("bit")
            else "add a unit, as in '80 GiB' or '80 GB'"
        )
        raise InvalidInputError(f"{text!r} has no byte unit", hint=hint)
    return value * _scale(unit[:-1], text, "bytes", "80 GiB")


def parse_bandwidth(text: str) -> float:
    """Bytes per second from ``400 Gbit/s``, ``400 Gbps``, ``50 GB/s`` or ``50 GiB/s``.

    >>> parse_bandwidth("400 Gbit/s"), parse_bandwidth("50 GB/s")
    (50000000000.0, 50000000000.0)
    """
    example = "400 Gbit/s' or '50 GB/s"
    value, unit = _split(text, "a bandwidth", example)
    for suffix, bits in (("bit/s", 8.0), ("bps", 8.0), ("b/s", 8.0), ("B/s", 1.0)):
        if unit.endswith(suffix):
            return value * _scale(unit[: -len(suffix)], text, "a bandwidth", example) / bits
    raise InvalidInputError(f"{text!r} has no bandwidth unit", hint=f"write it like '{example}'")


def parse_seconds(text: str) -> float:
    """Seconds from ``30 us``, ``2 h``, ``3 days``.

    >>> parse_seconds("2 h"), parse_seconds("250 ms")
    (7200.0, 0.25)
    """
    value, unit = _split(text, "a duration", "2 h")
    if unit not in _SECONDS:
        raise InvalidInputError(f"{text!r} has no time unit", hint=f"use one of {', '.join(_SECONDS)}")
    return value * _SECONDS[unit]


def parse_dollars(text: str) -> float:
    """Dollars from ``$5000``, ``5000 USD`` or ``5k USD``.

    >>> parse_dollars("$1,500"), parse_dollars("5k USD")
    (1500.0, 5000.0)
    """
    stripped = text.strip()
    if stripped.startswith("$"):
        stripped = stripped[1:] + " USD"
    value, unit = _split(stripped, "an amount of money", "$5000")
    if not unit.endswith("USD"):
        raise InvalidInputError(f"{text!r} has no currency", hint="write it like '$5000' or '5000 USD'")
    return value * _scale(unit[:-3].strip(), text, "money", "$5000")


def parse_count(text: str) -> float:
    """A bare count with an optional suffix: ``300B`` tokens, ``1.5T``, ``4096``.

    >>> parse_count("300B"), parse_count("4_096")
    (300000000000.0, 4096.0)
    """
    value, unit = _split(text, "a count", "300B")
    if unit not in _COUNTS:
        raise InvalidInputError(f"{text!r} is not a count", hint="use a plain number or k, M, B, T, as in '300B'")
    return value * _COUNTS[unit]


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    for factor, unit in steps:
        if abs(value) >= factor:
            return f"{_three_digits(value / factor)} {unit}"
    factor, unit = steps[-1]
    return f"{_three_digits(value / factor)} {unit}"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def format_bytes(n_bytes: float) -> str:
    """Bytes for people, in binary units.

    >>> format_bytes(80 * 2**30), format_bytes(1536)
    ('80.0 GiB', '1.50 KiB')
    """
    return _scaled(n_bytes, ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")))


def format_seconds(seconds: float) -> str:
    """A duration for people.

    >>> format_seconds(0.0413), format_seconds(90061), format_seconds(5e-6)
    ('41.3 ms', '1.04 days', '5.00 us')
    """
    return _scaled(
        seconds,
        (
            (86400.0, "days"),
            (3600.0, "h"),
            (60.0, "min"),
            (1.0, "s"),
            (1e-3, "ms"),
            (1e-6, "us"),
            (1e-9, "ns"),
        ),
    )


def format_rate(per_s: float, unit: str) -> str:
    """A rate with a decimal prefix: ``format_rate(312e12, "FLOP/s")``.

    >>> format_rate(312e12, "FLOP/s"), format_rate(25e9, "B/s")
    ('312 TFLOP/s', '25.0 GB/s')
    """
    return _scaled(
        per_s,
        tuple((f, p + unit) for f, p in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))),
    )


def format_count(count: float) -> str:
    """A count for people.

    >>> format_count(8_030_261_248), format_count(512)
    ('8.03 B', '512')
    """
    if abs(count) < 1e4:
        return f"{count:.0f}"
    return _scaled(count, ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")))


def format_dollars(dollars: float) -> str:
    """Money for people.

    >>> format_dollars(1234567.0), format_dollars(0.0123)
    ('$1,234,567', '$0.0123')
    """
    return f"${dollars:,.0f}" if abs(dollars) >= 1000 else f"${dollars:.2f}" if abs(dollars) >= 1 else f"${dollars:.3g}"
