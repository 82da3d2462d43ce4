"""Checkpoints that are whole or absent: sharded safetensors, a manifest with their hashes written last, a rename.

``step_00000300/`` holds one ``rank_R.safetensors`` for each process that owns something and ``manifest.json``, which
says where in each whole tensor every piece lies. Any mesh can read what any other mesh wrote: a process asks for the
slice it needs. A step is written to ``step_N.part`` and renamed when every file and the manifest are on the disk, so a
process killed at any moment leaves either the whole step or a ``.part`` that the next run removes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import Tensor

from trainwright.errors import CheckpointError
from trainwright.runtime.place import Place
from trainwright.runtime.share import Share, Span
from trainwright.runtime.tensorfile import sha256_of, write_tensors

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor of this process, and which share of a whole one it is.

    ``owned`` is False where another process holds the same share and writes it.
    """

    tensor: Tensor
    share: Share
    owned: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a checkpoint is to hold of this process. ``state`` is the loop's, ``score`` the lower the better."""

    step: int
    pieces: Mapping[str, Piece]
    state: dict[str, Any]
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where a run's checkpoints stand, who writes them together, and how many stay: the newest, and the best.

    ``group``: the process group they talk through; None for that of the whole run.
    """

    folder: Path
    place: Place
    keep: int = 2
    keep_best: bool = False
    group: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint on disk whose files were found whole. ``state`` is what the loop put in."""

    folder: Path
    step: int
    state: dict[str, Any]
    tensors: dict[str, Any]


def save_checkpoint(shelf: Shelf, content: Content) -> Path:
    """Write a step of the run, all processes together; then drop those that need not stay.

    Raises CheckpointError, on every process alike, when any of them could not write; the earlier ones stay as they
    were and nothing half-written stays.
    """
    folder, place = shelf.folder, shelf.place
    final = folder / f"step_{content.step:08d}"
    part = final.with_suffix(".part")
    written = _everywhere(lambda: _write_mine(part, content.pieces, place), place, shelf.group)
    about = {"step": content.step, "state": content.state, "score": content.score}
    problem = _from_leader(_commit_or_clean(part, final, about, written), place, shelf.group)
    if problem is not None:
        left = _steps(folder)
        raise CheckpointError(
            f"cannot save a checkpoint in {folder}: {problem}",
            hint=(f"the checkpoint of step {left[0]} is intact; " if left else "")
            + "make room or choose another folder, then run the same command again",
        )
    if place.leads:
        _prune(shelf)
    return final


def newest_checkpoint(
    folder: Path, place: Place, note: Callable[[str], None], *, best: bool = False
) -> Checkpoint | None:
    """The newest (or best) checkpoint whose files all have the hashes of their manifest; None when there never was one.

    Each damaged one is told to ``note`` with what is wrong. Raises CheckpointError when all are damaged.
    """
    if place.leads:
        for leftover in folder.glob("step_*.part"):
            shutil.rmtree(leftover, ignore_errors=True)
    steps: list[int] = _from_leader(_by_score(folder) if best else _steps(folder), place)
    damage: list[str] = []
    for step in steps:
        found, problem = _examine(folder / f"step_{step:08d}", place)
        if found is not None:
            if damage and place.leads:
                note(f"{'; '.join(damage)}: going on from step {step} instead")
            return found
        damage.append(f"the checkpoint of step {step} is damaged ({problem})")
    if damage:
        raise CheckpointError(
            f"no usable checkpoint in {folder}: {'; '.join(damage)}",
            hint=f"restore one from a backup, or remove {folder} to begin again",
        )
    return None


def load_pieces(checkpoint: Checkpoint, pieces: Mapping[str, Piece]) -> None:
    """Fill each piece in place from the files that hold it, whatever mesh wrote them."""
    for name, piece in pieces.items():
        entry = checkpoint.tensors.get(name)
        if entry is None or tuple(entry["shape"]) != piece.share.shape:
            has = "no such tensor" if entry is None else f"shape {tuple(entry['shape'])}"
            raise CheckpointError(
                f"{checkpoint.folder} is of another model: {name} is {piece.share.shape} here, and there {has}",
                hint="run with the plan that made it, or choose another folder",
            )
        with torch.no_grad():
            _fill(piece, entry["pieces"], checkpoint.folder)


def _fill(piece: Piece, stored: Iterable[dict[str, Any]], folder: Path) -> None:
    for other in stored:
        overlaps = [
            overlap
            for mine in piece.share.spans
            for theirs in other["spans"]
            if (overlap := _overlap(mine, Span(*(tuple(numbers) for numbers in theirs)))) is not None
        ]
        if not overlaps:
            continue
        with safe_open(folder / other["file"], framework="pt") as file:
            view = file.get_slice(other["name"])
            for here, there in overlaps:
                piece.tensor[here] = view[there] if there else file.get_tensor(other["name"])


def _overlap(mine: Span, theirs: Span) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Where both spans meet, as slices of my local tensor and of theirs; None when they do not meet."""
    here: list[slice] = []
    there: list[slice] = []
    for d in range(len(mine.offset)):
        low = max(mine.offset[d], theirs.offset[d])
        high = min(mine.offset[d] + mine.size[d], theirs.offset[d] + theirs.size[d])
        if low >= high:
            return None
        to_mine, to_theirs = mine.begin[d] - mine.offset[d], theirs.begin[d] - theirs.offset[d]
        here.append(slice(low + to_mine, high + to_mine))
        there.append(slice(low + to_theirs, high + to_theirs))
    return tuple(here), tuple(there)


def _write_mine(part: Path, pieces: Mapping[str, Piece], place: Place) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write what this process owns; returns ({file: hash and size}, {tensor: where its piece lies})."""
    owned = {name: piece for name, piece in pieces.items() if piece.owned}
    part.mkdir(parents=True, exist_ok=True)
    if not owned:
        return {}, {}
    path = part / f"rank_{place.rank}.safetensors"
    digest = write_tensors(path, {name: piece.tensor for name, piece in owned.items()})
    entries = {
        name: {
            "shape": p.share.shape,
            "piece": {"file": path.name, "name": name, "spans": [(s.begin, s.size, s.offset) for s in p.share.spans]},
        }
        for name, p in owned.items()
    }
    return {path.name: {"sha256": digest, "n_bytes": path.stat().st_size}}, entries


def _commit_or_clean(part: Path, final: Path, about: dict[str, Any], written: list[Any]) -> str | None:
    """On the leader: the manifest and the rename when all could write; otherwise what was written goes away."""
    if not written:
        return None
    problem = next((problem for _, problem in written if problem is not None), None)
    if problem is None:
        try:
            _commit(part, final, about, [mine for mine, _ in written])
        except OSError as error:
            problem = error.strerror or str(error)
    if problem is not None:
        shutil.rmtree(part, ignore_errors=True)
    return problem


def _commit(part: Path, final: Path, about: dict[str, Any], written: list[Any]) -> None:
    tensors: dict[str, Any] = {}
    for _, entries in written:
        for name, entry in entries.items():
            tensors.setdefault(name, {"shape": entry["shape"], "pieces": []})["pieces"].append(entry["piece"])
    files = {name: hashed for mine, _ in written for name, hashed in mine.items()}
    body = {"schema_version": SCHEMA_VERSION, **about, "files": files, "tensors": tensors}
    with (part / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump({"sha256": _digest(body), **body}, file)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(part)
    if final.exists():
        shutil.rmtree(final)
    part.rename(final)
    _sync_folder(final.parent)


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _examine(folder: Path, place: Place) -> tuple[Checkpoint | None, str]:
    """The checkpoint when all is well with it, or what is not; the processes share the hashing and agree."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        body = json.loads(text)
        if json.dumps(body) != text or body.pop("sha256") != _digest(body):  # a flipped last digit may parse alike
            raise ValueError
    except (OSError, ValueError, KeyError, AttributeError):
        return None, f"{MANIFEST} is missing or damaged"
    if body["schema_version"] != SCHEMA_VERSION:
        return None, f"it is of version {body['schema_version']}, and this Trainwright reads {SCHEMA_VERSION}"
    mine = sorted(body["files"])[place.rank :: place.n_processes]
    problems = [problem for name in mine if (problem := _file_problem(folder / name, body["files"][name]))]
    shared = _everywhere(lambda: problems, place, share=True)
    everyone = [problem for found, _ in shared for problem in found]
    if everyone:
        return None, ", ".join(everyone)
    return Checkpoint(folder=folder, step=body["step"], state=body["state"], tensors=body["tensors"]), ""


def _file_problem(path: Path, about: dict[str, Any]) -> str | None:
    if not path.exists():
        return f"{path.name} is missing"
    if path.stat().st_size != about["n_bytes"]:
        return f"{path.name} has {path.stat().st_size} bytes of {about['n_bytes']}"
    return None if sha256_of(path) == about["sha256"] else f"{path.name} has another content than was written"


def _steps(folder: Path) -> list[int]:
    """The steps that have a checkpoint, newest first."""
    return sorted((int(p.name[5:]) for p in folder.glob("step_*") if p.name[5:].isdigit()), reverse=True)


def _by_score(folder: Path) -> list[int]:
    """The steps that have a checkpoint, best first; those without a score last, newest first."""

    def score(step: int) -> float:
        try:
            body = json.loads((folder / f"step_{step:08d}" / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return math.inf
        found = body.get("score")
        return math.inf if found is None else float(found)

    return sorted(_steps(folder), key=score)


def _prune(shelf: Shelf) -> None:
    kept = {*_steps(shelf.folder)[: shelf.keep], *(_by_score(shelf.folder)[:1] if shelf.keep_best else ())}
    for step in sorted(set(_steps(shelf.folder)) - kept):
        doomed = shelf.folder / f"step_{step:08d}"
        (doomed / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(doomed, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _everywhere(action: Callable[[], Any], place: Place, group: Any = None, *, share: bool = False) -> list[Any]:
    """Do the action on every process; [(result, problem)] of all, on the leader only unless shared."""
    result: tuple[Any, str | None]
    try:
        result = (action(), None)
    except OSError as error:
        result = (None, error.strerror or str(error))
    if place.n_processes == 1:
        return [result]
    everyone: list[Any] = [None] * place.n_processes
    if share:
        dist.all_gather_object(everyone, result, group=group)
        return everyone
    dist.gather_object(result, everyone if place.leads else None, group=group)
    return everyone if place.leads else []


def _from_leader(value: Any, place: Place, group: Any = None) -> Any:
    if place.n_processes == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, group=group)
    return box[0]
