"""What is installed and what would go wrong here, found out without importing torch into this process."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Literal

from trainwright import __version__, env
from trainwright.probe.identity import Identity, identity
from trainwright.units import format_bytes

Verdict = Literal["fine", "note", "wrong"]
NEEDED_TO_TRAIN = ("torch", "transformers", "tokenizers", "safetensors", "psutil")
CHECKED_AFTER: tuple[str, ...] = ("torchvision", "torchaudio", "torchao")
_EXTRA = "pip install 'trainwright[train]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at: what was found, and what to do about it when it is not fine."""

    what: str
    found: str
    verdict: Verdict = "fine"
    advice: str | None = None


def findings() -> tuple[Finding, ...]:
    """Everything that decides whether Trainwright works here. ``wrong`` means that something asked for will fail."""
    who = identity()
    versions = {name: version(name) for name in NEEDED_TO_TRAIN}
    return (
        Finding(what="trainwright", found=f"{__version__} on Python {platform.python_version()}, {platform.system()}"),
        *(_needed(name, found) for name, found in versions.items()),
        *(finding for name in CHECKED_AFTER if (finding := _companion(name)) is not None),
        *((_torch_itself(),) if versions["torch"] else ()),
        *_machine(who),
        _cache_folder(),
        Finding(what="network", found="no call is made unless a command says so; HF_HUB_OFFLINE is set for processes"),
    )


def version(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _needed(name: str, found: str | None) -> Finding:
    if found is not None:
        return Finding(what=name, found=found)
    return Finding(what=name, found="not installed", verdict="note", advice=f"planning works; to train: {_EXTRA}")


def _companion(name: str) -> Finding | None:
    """A package beside torch that transformers imports when it is there: broken, it breaks every model."""
    found = version(name)
    if found is None:
        return None
    failure = _import_failure(name)
    if failure is None:
        return Finding(what=name, found=f"{found}, imports")
    return Finding(
        what=name,
        found=f"{found}, broken: {failure}",
        verdict="wrong",
        advice=f"pip uninstall {name}: Trainwright does not need it, and transformers fails when it is broken",
    )


def _torch_itself() -> Finding:
    failure = _import_failure("torch")
    if failure is None:
        return Finding(what="torch imports", found="yes")
    return Finding(what="torch imports", found=failure, verdict="wrong", advice=f"install it again: {_EXTRA}")


def _import_failure(name: str) -> str | None:
    """The last line of what went wrong when another process imported it, or None."""
    command = [sys.executable, "-W", "ignore", "-c", f"import {name}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "its import does not end"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"its import ended with code {done.returncode}"


def _machine(who: Identity) -> tuple[Finding, ...]:
    threads = env.openmp_threads()
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    return (
        Finding(what="cores", found=f"{who.n_cores} usable, {who.processor}"),
        Finding(what="memory", found=format_bytes(who.memory_bytes)),
        Finding(what="GPUs", found=", ".join(who.gpus) or "none that the NVIDIA driver shows"),
        Finding(what="threads", found=f"OMP_NUM_THREADS is {threads or 'not set'}; processes of a run get their own"),
        Finding(what="compiler", found=compiler or "none: `trainwright probe` leaves out the staircase of caches"),
    )


def _cache_folder() -> Finding:
    folder = env.cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(
            what="cache folder",
            found=f"{folder} cannot be written ({error.strerror})",
            verdict="note",
            advice="set TRAINWRIGHT_CACHE to a folder that can, or the machine is measured anew for every run",
        )
    return Finding(what="cache folder", found=f"{folder}, writable")
