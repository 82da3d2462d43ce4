"""What a serving job is asked: requests and their lengths, how fast they come, how fast answers must be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.units import format_seconds, parse_count, parse_seconds

WeightFormatName = Literal["fp32", "bf16", "fp16", "fp8", "int8", "int4", "fp4", "q8_0", "q4_k_m"]
KvPrecision = Literal["fp32", "bf16", "fp16", "fp8", "int8", "int4"]
WEIGHT_FORMATS: tuple[WeightFormatName, ...] = get_args(WeightFormatName)
KV_PRECISIONS: tuple[KvPrecision, ...] = get_args(KvPrecision)

USUAL_PROMPT, USUAL_OUTPUT = 1024, 256
"""Tokens of a request where nobody says: of the order of ShareGPT and of Azure's traces (Patel et al., Splitwise,
arXiv:2311.18677, figure 3: medians of 1,020 and 129 tokens in chat, 1,500 and 13 in code)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests of one length: ``share`` of all, ``prompt`` tokens in, ``output`` tokens out."""

    prompt: int
    output: int
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What is served. None: no rate given (then as much as possible), no limit, the planner's choice.

    ``rate``: requests a second in all. ``ttft_s``: mean time to the first token, its queue included; ``tpot_s``: mean
    time for each further token; ``latency_s``: both together for a mean request. ``batch``: sequences in flight a
    replica at most.
    """

    mix: tuple[Requests, ...] = (Requests(prompt=USUAL_PROMPT, output=USUAL_OUTPUT),)
    rate: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    latency_s: float | None = None
    weights: WeightFormatName | None = None
    kv: KvPrecision | None = None
    batch: int | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest request, prompt and output."""
        return max(kind.prompt + kind.output for kind in self.mix)

    @property
    def limits(self) -> dict[str, float]:
        """The latency limits that are given, by name."""
        named = {"ttft": self.ttft_s, "tpot": self.tpot_s, "latency": self.latency_s}
        return {name: value for name, value in named.items() if value is not None}

    def describe(self) -> str:
        """In a few words.

        >>> Serving(rate=10.0, tpot_s=0.05).describe()
        '1024+256 tokens, 10 requests/s, tpot at most 50.0 ms'
        """
        kinds = ", ".join(
            f"{kind.prompt}+{kind.output}" + (f" ({100 * kind.share:g} %)" if kind.share < 1 else "")
            for kind in self.mix
        )
        rate = "" if self.rate is None else f", {self.rate:g} requests/s"
        limits = "".join(f", {name} at most {format_seconds(value)}" for name, value in self.limits.items())
        return f"{kinds} tokens{rate}{limits}"


_KIND = re.compile(r"^(?:(?P<share>[\d.]+)\s*(?P<percent>%)?\s*:?\s+)?(?P<prompt>\d\w*)\s*\+\s*(?P<output>\d\w*)$")


def parse_mix(texts: tuple[str, ...]) -> tuple[Requests, ...]:
    """Kinds of requests from texts such as "70% 500+200"; shares are made to add up to one.

    >>> [kind.share for kind in parse_mix(("3 500+200", "1 8k+300"))]
    [0.75, 0.25]
    """
    found = []
    for text in texts:
        match = _KIND.match(text.strip())
        if match is None:
            raise ValueError('must be a list of "SHARE PROMPT+OUTPUT", such as ["70% 500+200", "30% 8000+300"]')
        prompt, output = (int(parse_count(match[name])) for name in ("prompt", "output"))
        share = float(match["share"] or 1.0)
        if prompt < 1 or output < 1 or share <= 0:
            raise ValueError("needs a share above 0 and at least one token in and one out")
        found.append(Requests(prompt=prompt, output=output, share=share))
    total = sum(kind.share for kind in found)
    return tuple(Requests(prompt=kind.prompt, output=kind.output, share=kind.share / total) for kind in found)


NAMES = {"ttft": "ttft_s", "tpot": "tpot_s", "latency": "latency_s"}
"""Keys of the [serving] table whose field says its unit."""


def serving_of(values: Mapping[str, Any], base: Serving | None = None) -> Serving:
    """The serving job of checked values by key of the [serving] table, over what ``base`` says."""
    base = base or Serving()
    given = {NAMES.get(name, name): value for name, value in values.items()}
    first = base.mix[0]
    prompt, output = given.pop("prompt", None), given.pop("output", None)
    if prompt is not None or output is not None:
        given["mix"] = (Requests(prompt=prompt or first.prompt, output=output or first.output),)
    return replace(base, **given)


def seconds(value: Any) -> float:
    """Text such as "500 ms" as seconds."""
    if not isinstance(value, str):
        raise ValueError('must be a time with its unit in quotes, as "500 ms"')
    try:
        found = parse_seconds(value)
    except InvalidInputError as error:
        raise ValueError(f"must be a time, as in '500 ms'; {error.hint}") from None
    if found <= 0:
        raise ValueError("must be a time above 0")
    return found


def parse_serving(text: str, base: Serving, readers: Mapping[str, Any]) -> Serving:
    """What the command line says of a serving job, "prompt=2k,output=300,rate=10,tpot=50ms", over what a job says.

    ``readers``: how each key of the [serving] table is read. Raises InvalidInputError for each kind of mistake.
    """
    values = {}
    for name, written in pairs(text):
        if name not in readers:
            raise unknown_name("key of a serving job", name, readers)
        if not written:
            raise InvalidInputError(f"--serve gives {name} no value", hint=f"write it like '{EXAMPLE}'")
        try:
            values[name] = readers[name](_typed(written))
        except ValueError as error:
            raise InvalidInputError(f"--serve {name}={written} {error}", hint=f"write it like '{EXAMPLE}'") from None
    return serving_of(values, base)


def pairs(text: str) -> list[tuple[str, str]]:
    """Names and values of a text such as "prompt=2k, output=300".

    >>> pairs("prompt=2k, rate = 10")
    [('prompt', '2k'), ('rate', '10')]
    """
    cut = [part.partition("=") for part in text.split(",") if part.strip()]
    return [(name.strip(), written.strip()) for name, _, written in cut]


EXAMPLE = "prompt=2k,output=300,rate=10,tpot=50ms"


def _typed(text: str) -> Any:
    """A number as a number, anything else as text."""
    try:
        return float(text)
    except ValueError:
        return text
