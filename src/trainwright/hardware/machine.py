"""This machine, as a probe measured it: ways of cutting it into processes, each a Cluster, kept as one JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainwright import env
from trainwright.errors import InvalidInputError
from trainwright.files import write_text
from trainwright.hardware.cluster import Cluster
from trainwright.hardware.encode import from_plain, to_plain

SCHEMA_VERSION = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePoint:
    """What a random read in a working set of this size waits, and what a stream over it moves."""

    working_set_bytes: float
    latency_s: float
    bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """One lesson measured: a name, what was compared, seconds of each."""

    name: str
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineProfile:
    """One machine, measured.

    ``divisions``: each way of cutting it into processes that was measured, as a Cluster of one node whose devices are
    the processes. ``resident_bytes``: what a training process holds besides its model. ``spread``: the coefficient of
    variation of repeated measurements; ``is_busy``: other work was running. ``disk_bytes_per_s``: writing, forced out.
    ``learned``: measured over predicted, by part of the step (compute, optimizer, communication), from runs on this
    machine; not the probe's own. ``facts``: what the machine says of itself (probe/facts.py), by name with its unit.
    """

    name: str
    fingerprint: str
    description: str
    measured_at: str
    memory_bytes: float
    n_cores: int
    divisions: tuple[Cluster, ...]
    resident_bytes: float = 0.0
    spread: float = 0.0
    is_busy: bool = False
    is_quick: bool = True
    probe_s: float = 0.0
    disk_bytes_per_s: float | None = None
    caches: tuple[CachePoint, ...] = ()
    exercises: tuple[Exercise, ...] = ()
    learned: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)

    def division(self, n_processes: int) -> Cluster:
        """The way of cutting this machine into so many processes."""
        for cluster in self.divisions:
            if cluster.n_devices == n_processes:
                return cluster
        known = ", ".join(str(cluster.n_devices) for cluster in self.divisions)
        raise InvalidInputError(
            f"machine {self.name!r} was not measured with {n_processes} processes", hint=f"it was with {known}"
        )


def save_machine(profile: MachineProfile, path: Path) -> None:
    """Write the profile as JSON, whole or not at all; InvalidInputError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot make {path.parent}: {error.strerror}", hint="set TRAINWRIGHT_CACHE") from error
    write_text(path, json.dumps({"schema_version": SCHEMA_VERSION, **to_plain(profile)}, indent=1) + "\n")


def load_machine(path: Path) -> MachineProfile:
    """Read a profile; another version or a broken file is an error that says so."""
    hint = "measure again with `trainwright probe --fresh`"
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = plain.pop("schema_version", None)
    except FileNotFoundError:
        raise InvalidInputError(f"{path} does not exist", hint=hint) from None
    except (ValueError, AttributeError) as error:
        raise InvalidInputError(f"{path} is not a machine profile: {error}", hint=hint) from error
    if version != SCHEMA_VERSION:
        raise InvalidInputError(f"{path} has schema version {version}, this is {SCHEMA_VERSION}", hint=hint)
    try:
        return from_plain(MachineProfile, plain)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error.message}", hint=hint) from error


def machines(folder: Path) -> tuple[MachineProfile, ...]:
    """Every profile in a folder, by name; what another version wrote is passed over."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(load_machine(path))
        except InvalidInputError:
            continue
    return tuple(sorted(found, key=lambda profile: profile.name))


def machines_folder() -> Path:
    """Where the profiles of this user's machines are kept."""
    return env.cache_folder() / "machines"


def learned(profile: MachineProfile, parts: Mapping[str, tuple[float, float]], weight: float = 0.5) -> MachineProfile:
    """The profile corrected by a run: ``parts`` are (predicted, measured) seconds by part of the step.

    Each factor moves by ``weight`` of the way (in the logarithm) to what would have made the prediction right; the
    prediction is taken to have used the factors so far. Factors stay within 0.5 and 2: a larger error is the model's.
    """
    factors = dict(profile.learned)
    for name, (predicted, actual) in parts.items():
        if predicted > 0 and actual > 0:
            factors[name] = min(max(factors.get(name, 1.0) * (actual / predicted) ** weight, 0.5), 2.0)
    return taught(profile, factors)


def forget(profile: MachineProfile) -> MachineProfile:
    """The profile as the probe measured it, without what runs taught."""
    return taught(profile, {})


def taught(profile: MachineProfile, factors: Mapping[str, float]) -> MachineProfile:
    """The profile with these factors, also where the cost model reads them; every figure of the probe as it was."""
    return replace(_with_devices(profile, learned=factors), learned=factors)


def with_spread(profile: MachineProfile, spread: float) -> MachineProfile:
    """The profile whose devices tell how far the probe's readings lay apart, so that intervals can be as wide."""
    return _with_devices(profile, spread=spread)


def _with_devices(profile: MachineProfile, **changes: Any) -> MachineProfile:
    divisions = tuple(
        replace(
            cluster, groups=tuple(replace(group, device=replace(group.device, **changes)) for group in cluster.groups)
        )
        for cluster in profile.divisions
    )
    return replace(profile, divisions=divisions)
