"""A strategy from a line of text: ``dp=8,tp=4,recompute=full``. The keys are the fields of Strategy, or short names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.jobs.strategy import OFFLOADS, PRECISIONS, RECOMPUTES, SCHEDULES, Strategy

SHORT: Mapping[str, str] = {
    "zero": "zero_stage",
    "sp": "sequence_parallel",
    "virtual": "virtual_stages",
    "every": "recompute_every",
    "mb": "micro_batch",
}
COUNTS = ("dp", "tp", "cp", "pp", "ep", "micro_batch", "shard", "virtual_stages", "recompute_every", "zero_stage")
CHOICES: Mapping[str, Mapping[str, Any]] = {
    "sequence_parallel": {"on": True, "off": False, "true": True, "false": False},
    "cp_kind": {kind: kind for kind in ("ring", "all_to_all")},
    "schedule": {name: name for name in SCHEDULES},
    "recompute": {name: name for name in RECOMPUTES},
    "precision": {name: name for name in PRECISIONS},
    "offload": {name: name for name in OFFLOADS},
}
LISTS = ("stages", "samples", "order")
LAST_ZERO_STAGE = 3
EXAMPLE = "dp=8,tp=4,zero=1,micro_batch=2,recompute=full"


def parse_strategy(text: str) -> Strategy:
    """The strategy that the text spells out; what it leaves out keeps its default.

    >>> parse_strategy("dp=8, tp=4, zero=3, sp=on").zero_stage
    3
    >>> parse_strategy("pp=2,stages=15-17").stages
    (15, 17)
    """
    values: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, word = (piece.strip() for piece in part.partition("="))
        key = SHORT.get(name, name.replace("-", "_"))
        if key not in (*COUNTS, *CHOICES, *LISTS):
            raise unknown_name("strategy key", name, [*COUNTS, *CHOICES, *LISTS, *SHORT])
        if not equals or not word:
            raise InvalidInputError(f"{part!r} gives {key} no value", hint=f"write it like {EXAMPLE!r}")
        if key in values:
            raise InvalidInputError(f"{text!r} gives {key} twice", hint="give each key once")
        values[key] = _value(key, word, part)
    if values.get("virtual_stages", 1) > 1:
        values.setdefault("schedule", "interleaved")
    return Strategy(**values)


def _value(key: str, word: str, part: str) -> Any:
    if key in CHOICES:
        known = CHOICES[key]
        if word.casefold() not in known:
            raise unknown_name(key.replace("_", " "), word, known)
        return known[word.casefold()]
    if key == "order":
        return tuple(word.split("-"))
    numbers = word.split("-") if key in ("stages", "samples") else [word]
    if not all(number.isdigit() for number in numbers):
        raise InvalidInputError(f"{part!r}: {key} is a whole number", hint=f"write it like {EXAMPLE!r}")
    counts = tuple(int(number) for number in numbers)
    if key == "zero_stage" and counts[0] > LAST_ZERO_STAGE:
        raise InvalidInputError(f"{part!r}: ZeRO has stages 0 to {LAST_ZERO_STAGE}", hint="zero=3 shards everything")
    return counts if key in ("stages", "samples") else counts[0]


def strategy_text(strategy: Strategy) -> str:
    """One strategy as the text that gives it, defaults left out.

    >>> strategy_text(Strategy(dp=2, tp=4, zero_stage=1, sequence_parallel=True))
    'dp=2,tp=4,zero=1,sp=on'
    """
    plain = Strategy()
    long = {name: short for short, name in SHORT.items()}
    parts = []
    for key in ("dp", "tp", "cp", "pp", "ep", "micro_batch", "zero_stage", "shard", *CHOICES, "virtual_stages",
                "recompute_every", *LISTS):  # fmt: skip
        value = getattr(strategy, key)
        name = long[key] if key in long and key != "micro_batch" else key
        if value != getattr(plain, key):
            parts.append(f"{name}={_written(value)}")
    return ",".join(parts) or "dp=1"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "-".join(str(item) for item in value) if isinstance(value, tuple) else str(value)
