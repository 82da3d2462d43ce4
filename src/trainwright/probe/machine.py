"""Measure this machine in every sensible division into processes, and keep the profile in the user's cache."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from trainwright import env
from trainwright.errors import InvalidInputError, MissingExtraError
from trainwright.hardware.cluster import Cluster
from trainwright.hardware.encode import to_plain
from trainwright.hardware.machine import (
    CachePoint,
    Exercise,
    MachineProfile,
    forget,
    learned,
    load_machine,
    machines_folder,
    save_machine,
    with_spread,
)
from trainwright.probe.division import Division, divisions
from trainwright.probe.facts import cpu_facts, energy_j, gpu_facts
from trainwright.probe.identity import Identity, busy_core_s, identity
from trainwright.probe.samples import Orders, Samples
from trainwright.probe.team import measured, started

Say = Callable[[str], None]


def say_nothing(_line: str) -> None:
    """For callers who want no progress."""


def this_machine(
    *, fresh: bool = False, quick: bool = True, name: str | None = None, say: Say = say_nothing
) -> MachineProfile:
    """This machine's profile: from the cache if it was measured before, else measured now and kept.

    What was measured while the machine was busy is measured again after BUSY_KEPT_S. What runs taught was against the
    old figures, and goes with them; ``forget_learned`` drops it alone.
    """
    who = identity()
    path = machine_path(who)
    known = _known(path, say)
    if known is not None and not fresh and _is_good(known) and (quick or not known.is_quick):
        return known if name is None else _kept(replace(known, name=name), path, say)
    if who.torch_version == "absent":
        raise MissingExtraError("torch is not installed, so this machine cannot be measured", hint=_INSTALL)
    profile = measure(who, quick=quick, say=say)
    return _kept(replace(profile, name=name or (known.name if known else profile.name)), path, say)


def forget_learned() -> MachineProfile:
    """This machine's profile without what runs taught, kept so."""
    path = machine_path(identity())
    profile = forget(load_machine(path))
    save_machine(profile, path)
    return profile


def learn(parts: Mapping[str, tuple[float, float]], say: Say = say_nothing) -> None:
    """Correct this machine's stored profile by a run: (predicted, measured) seconds by part of the step."""
    path = machine_path(identity())
    known = _known(path, say)
    if known is not None:
        _kept(learned(known, parts), path, say)


_INSTALL = "pip install 'trainwright[train]'"


def machine_path(who: Identity) -> Path:
    """Where the profile of that machine is kept."""
    return machines_folder() / f"{who.fingerprint}.json"


def _known(path: Path, say: Say) -> MachineProfile | None:
    if not path.exists():
        return None
    try:
        return load_machine(path)
    except InvalidInputError as error:
        say(f"{error.message}: measuring again")
        return None


def _is_good(profile: MachineProfile) -> bool:
    """Whether it was measured undisturbed, or so lately that the machine may still be as busy."""
    age = datetime.now(UTC) - datetime.fromisoformat(profile.measured_at)
    return not profile.is_busy or age.total_seconds() < BUSY_KEPT_S


def _kept(profile: MachineProfile, path: Path, say: Say) -> MachineProfile:
    try:
        save_machine(profile, path)
    except InvalidInputError as error:
        say(f"{error.message}: these measurements will be made again next time")
    return profile


def measure(who: Identity, *, quick: bool, say: Say) -> MachineProfile:
    """Measure every division, one after the other, and fit what the cost model reads."""
    from trainwright.probe.result import division_cluster  # numpy, after the quick answers

    begin, others = time.perf_counter(), _others_core_s()
    energy, gpu_said = energy_j(), gpu_facts()
    cuts = divisions(who)
    answers = _answers(cuts, quick, say)
    clusters: list[Cluster] = []
    for cut, samples in zip(cuts, answers, strict=True):
        clusters.append(division_cluster(cut, samples, who, clusters[0] if clusters else None))
    spread = statistics.median(sample.spread for samples in answers for sample in samples)
    disturbed = statistics.fmean(sample.disturbed_share for samples in answers for sample in samples)
    others_share = (_others_core_s() - others) / (time.perf_counter() - begin) / who.n_cores
    first, facts = answers[0][0], cpu_facts()
    profile = MachineProfile(
        name="this-machine",
        fingerprint=who.fingerprint,
        description=who.description,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        memory_bytes=who.memory_bytes,
        n_cores=who.n_cores,
        divisions=tuple(clusters),
        resident_bytes=first.resident_bytes,
        spread=spread,
        is_busy=disturbed > BUSY_SHARE or spread > BUSY_SPREAD or others_share > BUSY_OTHERS,
        is_quick=quick,
        probe_s=time.perf_counter() - begin,
        disk_bytes_per_s=_disk_bytes_per_s(),
        caches=tuple(CachePoint(**to_plain(point)) for point in first.caches),
        exercises=tuple(Exercise(name=name, seconds=seconds) for name, seconds in first.exercises.items()),
        facts=gpu_said | facts | _power(energy, time.perf_counter() - begin),
    )
    if profile.is_busy:
        say(
            f"the machine is busy: others took {others_share:.0%} of it, readings lay {spread:.0%} apart; "
            "the figures are less sure"
        )
    return with_spread(profile, max(spread, BUSY_LEAST_SPREAD) if profile.is_busy else spread)


def _answers(cuts: tuple[Division, ...], quick: bool, say: Say) -> list[list[Samples]]:
    """What the processes of each division measured."""
    answers = []
    with tempfile.TemporaryDirectory(prefix="trainwright-probe-") as folder:
        asks = [Ask(quick=quick, first=cut is cuts[0]) for cut in cuts]
        orders = [
            [_orders(cut, rank, Path(folder), ask) for rank in range(cut.n_processes)]
            for cut, ask in zip(cuts, asks, strict=True)
        ]
        with started(orders) as teams:
            for cut, team in zip(cuts, teams, strict=True):
                say(f"measuring {cut.name}")
                answers.append(measured(team))
    return answers


def _power(before_j: float | None, seconds: float) -> dict[str, float]:
    """Mean watts of the processors since then, where they can be read; their counter starts anew now and then."""
    after_j = energy_j()
    if before_j is None or after_j is None or after_j <= before_j:
        return {}
    return {"power_w": (after_j - before_j) / seconds}


BUSY_LEAST_SPREAD = 0.15
"""How far figures measured on a busy machine are taken to lie off, at least."""
BUSY_KEPT_S = 3600.0
"""For how long they are made do with."""

BUSY_SHARE = 0.3
BUSY_SPREAD = 0.08
BUSY_OTHERS = 0.15
"""Above these the machine is called busy: disturbed readings, deviation of the others, cores that other work takes."""


def _others_core_s() -> float:
    """Core seconds of everybody but this process and the children it has waited for."""
    own = os.times()
    return busy_core_s() - own.user - own.system - own.children_user - own.children_system


QUICK_S = 2.5
THOROUGH_S = 5.0
"""Seconds of measuring that a division is given; what is spent follows, since steady figures end early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """How thoroughly to measure a division, and whether it is the first."""

    quick: bool
    first: bool


def _orders(cut: Division, rank: int, folder: Path, ask: Ask) -> Orders:
    quick = ask.quick
    sizes = (2**10, 2**20, 2**22, 2**24)
    return Orders(
        device=cut.device,
        rank=rank,
        n_ranks=cut.n_processes,
        n_threads=cut.n_threads,
        budget_s=QUICK_S if quick else THOROUGH_S,
        link_sizes=sizes if quick else (*sizes[:1], 2**18, *sizes[1:], 2**26),
        dtypes=("fp32", "bf16") if cut.device == "cpu" else ("fp32", "bf16", "fp16"),
        with_all=ask.first or not quick,
        with_lessons=ask.first and not quick and rank == 0,
        folder=str(folder),
    )


def _disk_bytes_per_s() -> float | None:
    """16 MiB written to the cache folder's disk and forced out; None where it cannot be written."""
    block = os.urandom(2**24)
    try:
        env.cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=env.cache_folder()) as stream:
            begin = time.perf_counter()
            stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())
            return len(block) / (time.perf_counter() - begin)
    except OSError:
        return None
