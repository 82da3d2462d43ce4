"""A model that planning cannot build from its job: captured by who may run code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainwright.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the cost model prices, what the runtime builds, and seconds of one core that making a sample takes."""

    spec: ModelSpec
    config: dict[str, Any]
    sample_s: float = 0.0
