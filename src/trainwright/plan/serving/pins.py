"""What the user fixes or rules out of a serving plan: ``tp=8``, ``!pp``, ``weights=bf16|fp8``, ``replicas=2``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.jobs.serving import KV_PRECISIONS, WEIGHT_FORMATS

COUNTS = ("tp", "pp", "ep", "replicas")
CHOICES: dict[str, tuple[str, ...]] = {"weights": WEIGHT_FORMATS, "kv": KV_PRECISIONS}
AXES = (*COUNTS, *CHOICES)
ALIASES = {"dp": "replicas", "precision": "weights"}
"""Independent replicas are what data parallel is when nothing is trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPin:
    """One axis limited to some values, or without them."""

    axis: str
    values: tuple[int | str, ...]
    keep: bool
    text: str

    def allows(self, value: int | str) -> bool:
        """Whether the pin lets this value through."""
        return (value in self.values) is self.keep


def parse_serving_pins(texts: Iterable[str]) -> tuple[ServingPin, ...]:
    """All pins, split at commas; two that leave an axis nothing are both named.

    >>> parse_serving_pins(["tp=4|8,!pp"])[0].values
    (4, 8)
    """
    pins = tuple(_pin(part.strip()) for text in texts for part in text.split(",") if part.strip())
    for axis in dict.fromkeys(pin.axis for pin in pins):
        on_axis = [pin for pin in pins if pin.axis == axis]
        kept = [pin for pin in on_axis if pin.keep]
        if kept and not any(all(pin.allows(value) for pin in on_axis) for value in kept[0].values):
            named = " and ".join(repr(pin.text) for pin in on_axis)
            raise InvalidInputError(f"{named} contradict each other", hint=f"keep one of the pins on {axis}")
    return pins


def _pin(text: str) -> ServingPin:
    excluded = text.startswith("!")
    name, _, listed = text.removeprefix("!").partition("=")
    axis = ALIASES.get(name.strip(), name.strip())
    if axis not in AXES:
        raise unknown_name("axis of a serving plan", name, [*AXES, *ALIASES])
    if not listed:
        if not excluded or axis in CHOICES:
            raise InvalidInputError(f"{text!r} gives {axis} no value", hint=f"write '{name}=VALUE'")
        return ServingPin(axis=axis, values=(1,), keep=True, text=text)
    values = tuple(_value(axis, word.strip(), text) for word in listed.split("|"))
    return ServingPin(axis=axis, values=values, keep=not excluded, text=text)


def _value(axis: str, word: str, text: str) -> int | str:
    if axis in CHOICES:
        if word not in CHOICES[axis]:
            raise unknown_name(f"format of {axis}", word, CHOICES[axis])
        return word
    if not word.isdigit() or int(word) < 1:
        raise InvalidInputError(f"{text!r}: {axis} is a whole number above 0", hint=f"write it like '{axis}=2'")
    return int(word)


def allowed(pins: Iterable[ServingPin], axis: str, value: int | str) -> bool:
    """Whether every pin lets the axis have this value."""
    return all(pin.allows(value) for pin in pins if pin.axis == axis)


def wanted(pins: Iterable[ServingPin], axis: str) -> tuple[int | str, ...] | None:
    """The values an axis was limited to; None where no pin names any to keep."""
    kept = [pin.values for pin in pins if pin.axis == axis and pin.keep]
    return tuple(value for value in kept[0] if allowed(pins, axis, value)) if kept else None
