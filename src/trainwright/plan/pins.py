"""What the user fixes or rules out before a search: ``tp=8``, ``!pp``, ``recompute=none|selective``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.plan.legal import CHOICES, NUMERIC

ALIASES = {
    "zero": "zero_stage",
    "sp": "sequence_parallel",
    "virtual": "virtual_stages",
    "every": "recompute_every",
    "mb": "micro_batch",
}
AXES = (*NUMERIC, *CHOICES, "order")
"""Every axis that may be pinned: fields of Strategy."""

_PLAIN: dict[str, Any] = dict.fromkeys(NUMERIC, 1) | {axis: values[0] for axis, values in CHOICES.items()}
_PLAIN |= {"schedule": "1f1b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One axis limited to some values (``keep``) or without them; ``text`` is what the user wrote."""

    axis: str
    values: tuple[Any, ...]
    keep: bool
    text: str

    def allows(self, value: Any) -> bool:
        """Whether the pin lets this value through."""
        return (value in self.values) is self.keep


def parse_pin(text: str) -> Pin:
    """A pin from text. ``!axis`` alone means that the axis is not used at all.

    >>> parse_pin("recompute=none|selective").values, parse_pin("!pp").values
    (('none', 'selective'), (1,))
    """
    stripped = text.strip()
    excluded = stripped.startswith("!")
    name, _, listed = stripped.removeprefix("!").partition("=")
    axis = ALIASES.get(name.strip(), name.strip().replace("-", "_"))
    if axis not in AXES:
        raise unknown_name("axis", name, [*AXES, *ALIASES])
    if not listed:
        if not excluded or axis == "order":
            raise InvalidInputError(f"{text!r} gives {axis} no value", hint=f"write '{name}=VALUE' or '!{name}'")
        return Pin(axis=axis, values=(_PLAIN[axis],), keep=True, text=stripped)
    values = tuple(_value(axis, part.strip(), text) for part in listed.split("|"))
    return Pin(axis=axis, values=values, keep=not excluded, text=stripped)


def _value(axis: str, word: str, text: str) -> Any:
    if axis == "order":
        return tuple(word.split("-"))
    if axis in NUMERIC or axis == "zero_stage":
        if not word.isdigit():
            raise InvalidInputError(f"{text!r}: {axis} is a whole number", hint=f"write it like '{axis}=2'")
        return int(word)
    choices = {str(choice).casefold(): choice for choice in CHOICES[axis]} | (
        {"on": True, "off": False} if axis == "sequence_parallel" else {}
    )
    if word.casefold() not in choices:
        raise unknown_name(axis.replace("_", " "), word, choices)
    return choices[word.casefold()]


def parse_pins(texts: Iterable[str]) -> tuple[Pin, ...]:
    """All pins; two that leave an axis no value contradict each other and are both named."""
    pins = tuple(parse_pin(text) for text in texts)
    refuse_contradictions(pins)
    return pins


def refuse_contradictions(pins: Iterable[Pin]) -> None:
    """InvalidInputError where pins leave an axis no value, naming them."""
    by_axis: dict[str, list[Pin]] = {}
    for pin in pins:
        by_axis.setdefault(pin.axis, []).append(pin)
    for axis, on_axis in by_axis.items():
        kept = [pin for pin in on_axis if pin.keep]
        if kept and not any(all(pin.allows(value) for pin in on_axis) for value in kept[0].values):
            named = " and ".join(repr(pin.text) for pin in on_axis)
            raise InvalidInputError(f"{named} contradict each other", hint=f"keep one of the pins on {axis}")


def allowed(pins: Iterable[Pin], axis: str, value: Any) -> bool:
    """Whether every pin lets the axis have this value."""
    return all(pin.allows(value) for pin in pins if pin.axis == axis)


def pinned_values(pins: Iterable[Pin], axis: str) -> tuple[Any, ...] | None:
    """The values an axis was limited to; None where no pin names values to keep."""
    kept = [pin.values for pin in pins if pin.axis == axis and pin.keep]
    if not kept:
        return None
    return tuple(value for value in kept[0] if allowed(pins, axis, value))
