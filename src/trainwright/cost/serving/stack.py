"""The software that serves: which kernels, how it batches, what its host side costs (data/serving.toml)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from trainwright.cost.stack import Stack
from trainwright.errors import unknown_name
from trainwright.jobs.serving import KV_PRECISIONS, WEIGHT_FORMATS

GIB = 2.0**30


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingStack:
    """One serving engine. Seconds are before the fitted corrections (cost/serving/corrections.py).

    ``graphs``: kernels are replayed from a recorded graph, each ``kernel_s`` after the other; else the host issues one
    every ``kernel_s`` while the device works, and the slower of the two paces. ``mixed``: chunks of prompts ride along
    with decoding sequences in one pass; else a prompt's pass stops the others. ``chunk``: tokens of a pass at most.
    ``step_s``, ``sequence_s``: host seconds of a pass, and of each sequence in it (scheduling, sampling, detokenizing).
    ``memory_share``: share of the device's memory the engine takes; ``reserve_gib``: of it, what context, graphs and
    workspaces hold. ``held_share``: share of a request's output that room in the cache is kept for (0.5: as it grows,
    half on average). ``pages_windows``: cache is held for a windowed layer's whole context.
    ``layers_only``: splits a model by layers and nothing else.
    ``copies_cache``: every new token copies the whole cache, as appending to a tensor does.
    ``kv_like_weights``: the cache of fp8 weights is fp8 too where nobody says otherwise.
    """

    name: str
    source: str
    summary: str
    attention: Literal["flash", "plain"] = "flash"
    fused: bool = True
    graphs: bool = True
    mixed: bool = True
    chunk: int = 8192
    max_batch: int = 1024
    kernel_s: float = 2e-6
    step_s: float = 1e-3
    sequence_s: float = 5e-6
    memory_share: float = 0.9
    reserve_gib: float = 1.5
    held_share: float = 0.5
    pages_windows: bool = False
    layers_only: bool = False
    copies_cache: bool = False
    kv_like_weights: bool = False
    weights: tuple[str, ...] = WEIGHT_FORMATS
    kv: tuple[str, ...] = KV_PRECISIONS

    @property
    def kernels(self) -> Stack:
        """What the formulas of training's ops need to know of the kernels."""
        return Stack(
            name=self.name, source=self.source, summary=self.summary, attention=self.attention, fused=self.fused
        )


@cache
def serving_stacks() -> tuple[ServingStack, ...]:
    """Every known engine, in the order of the file."""
    text = resources.files("trainwright.cost").joinpath("data/serving.toml").read_text(encoding="utf-8")
    return tuple(_from_table(name, table) for name, table in tomllib.loads(text).items())


def _from_table(name: str, table: dict[str, Any]) -> ServingStack:
    lists: dict[str, Any] = {key: tuple(table[key]) for key in ("weights", "kv") if key in table}
    return ServingStack(name=name, **(table | lists))


def serving_stack(name: str) -> ServingStack:
    """The engine of that name.

    >>> serving_stack("vllm").mixed
    True
    """
    for known in serving_stacks():
        if known.name == name:
            return known
    raise unknown_name("serving stack", name, [known.name for known in serving_stacks()])
