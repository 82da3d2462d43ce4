"""What the user fixes or rules out of a serving plan: ``tp=8``, ``!pp``, ``weights=bf16|fp8``, ``replicas=2``."""

from __future__ import annotations

from collections.abc import Iterable

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.jobs.serving import KV_PRECISIONS, WEIGHT_FORMATS
from trainwright.plan.pins import Pin, refuse_contradictions

COUNTS = ("tp", "pp", "ep", "replicas")
CHOICES: dict[str, tuple[str, ...]] = {"weights": WEIGHT_FORMATS, "kv": KV_PRECISIONS}
AXES = (*COUNTS, *CHOICES)
ALIASES = {"dp": "replicas", "precision": "weights"}
"""Independent replicas are what data parallel is when nothing is trained."""


def parse_serving_pins(texts: Iterable[str]) -> tuple[Pin, ...]:
    """All pins, split at commas; two that leave an axis nothing are both named.

    >>> parse_serving_pins(["tp=4|8,!pp"])[0].values
    (4, 8)
    """
    pins = tuple(_pin(part.strip()) for text in texts for part in text.split(",") if part.strip())
    refuse_contradictions(pins)
    return pins


def _pin(text: str) -> Pin:
    excluded = text.startswith("!")
    name, _, listed = text.removeprefix("!").partition("=")
    axis = ALIASES.get(name.strip(), name.strip())
    if axis not in AXES:
        raise unknown_name("axis of a serving plan", name, [*AXES, *ALIASES])
    if not listed:
        if not excluded or axis in CHOICES:
            raise InvalidInputError(f"{text!r} gives {axis} no value", hint=f"write '{name}=VALUE'")
        return Pin(axis=axis, values=(1,), keep=True, text=text)
    values = tuple(_value(axis, word.strip(), text) for word in listed.split("|"))
    return Pin(axis=axis, values=values, keep=not excluded, text=text)


def _value(axis: str, word: str, text: str) -> int | str:
    if axis in CHOICES:
        if word not in CHOICES[axis]:
            raise unknown_name(f"format of {axis}", word, CHOICES[axis])
        return word
    if not word.isdigit() or int(word) < 1:
        raise InvalidInputError(f"{text!r}: {axis} is a whole number above 0", hint=f"write it like '{axis}=2'")
    return int(word)
