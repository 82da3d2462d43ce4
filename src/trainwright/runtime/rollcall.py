"""Before processes of other launchers join: are all there, and do all run the same?

Each says in the store that it came and what it runs; process 0 judges, and all hear the same verdict.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch.distributed as dist

import trainwright
from trainwright.errors import InvalidInputError, TrainwrightError
from trainwright.runtime.place import Place

HEAR_S = 5.0
"""How long process 0 waits for the others to have heard that the run cannot be."""

ROLL_CALL_S = 300.0
"""How long process 0 waits for the others to come."""


def facts_here(plan: Path) -> dict[str, str]:
    """What must be the same everywhere: versions, and the plan."""
    found = {"trainwright": trainwright.__version__, "python": ".".join(platform.python_version_tuple()[:2])}
    for package in ("torch", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    found["plan"] = hashlib.sha256(plan.read_bytes()).hexdigest()[:12]
    return found


def roll_call(store: Any, place: Place, facts: dict[str, str]) -> None:
    """Return when all processes came and run the same.

    Otherwise raises on all of them: TrainwrightError naming who is missing, InvalidInputError naming what differs.
    """
    store.set(f"here/{place.rank}", json.dumps(facts))
    if place.leads:
        store.set("verdict", json.dumps(_verdict(store, place.n_processes)))
    if not _came(store, "verdict", ROLL_CALL_S + 60.0):
        raise TrainwrightError(
            f"process {place.rank} of {place.n_processes} heard nothing from process 0", hint="look at what it said"
        )
    kind, message, hint = json.loads(store.get("verdict"))
    store.set(f"heard/{place.rank}", "")
    if place.leads and kind != "ok":  # with process 0 the store may go: first let those that came hear why
        deadline = time.monotonic() + HEAR_S
        for rank in range(place.n_processes):
            if store.check([f"here/{rank}"]):
                _came(store, f"heard/{rank}", deadline - time.monotonic())
    if kind == "missing":
        raise TrainwrightError(message, hint=hint)
    if kind == "mixed":
        raise InvalidInputError(message, hint=hint)


def _verdict(store: Any, n_processes: int) -> tuple[str, str, str]:
    """(ok, missing or mixed; what is wrong; what to do)."""
    deadline = time.monotonic() + ROLL_CALL_S
    missing = [r for r in range(n_processes) if not _came(store, f"here/{r}", deadline - time.monotonic())]
    if missing:
        who = ", ".join(map(str, missing))
        return (
            "missing",
            f"only {n_processes - len(missing)} of {n_processes} processes came within {ROLL_CALL_S:.0f} s: "
            f"{who} {'is' if len(missing) == 1 else 'are'} missing",
            "look at what their nodes say; every node must reach MASTER_ADDR and MASTER_PORT",
        )
    first = json.loads(store.get("here/0"))
    for rank in range(1, n_processes):
        other = json.loads(store.get(f"here/{rank}"))
        differing = [key for key in first if other.get(key) != first[key]]
        if differing:
            listed = ", ".join(f"{key} {other.get(key)} where process 0 has {first[key]}" for key in differing)
            return (
                "mixed",
                f"process {rank} has {listed}",
                "install the same versions on every node, and give every node the same run folder",
            )
    return "ok", "", ""


def _came(store: Any, key: str, within_s: float) -> bool:
    try:
        store.wait([key], datetime.timedelta(seconds=max(within_s, 0.01)))
    except dist.DistStoreError:
        return False
    return True
