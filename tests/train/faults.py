"""Faults that are inflicted on a checkpoint for real; benchmarks/faults.py counts what becomes of the eleven."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

TENSORS, MANIFEST = "rank_0.safetensors", "manifest.json"
Fault = Callable[[Path], None]
"""Damages the checkpoint in a folder."""


def cut_in(part: str) -> Fault:
    """The file ends in the middle of the first tensor of this part."""
    return lambda folder: os.truncate(folder / TENSORS, middle_of(folder, part))


def flip_in(part: str) -> Fault:
    """One bit of the first tensor of this part is another."""
    return lambda folder: flip(folder / TENSORS, middle_of(folder, part))


def without(part: str) -> Fault:
    """The file is whole, and lacks the tensors of this part."""

    def remove(folder: Path) -> None:
        kept = {name: t for name, t in load_file(folder / TENSORS).items() if not name.startswith(part)}
        save_file(kept, folder / TENSORS)

    return remove


def without_rates(folder: Path) -> None:
    """The manifest lacks what the schedule and the sampler go on from."""
    about = json.loads((folder / MANIFEST).read_text())
    about["state"] = {}
    (folder / MANIFEST).write_text(json.dumps(about))


def empty_folder(folder: Path) -> None:
    """The folder is there and nothing in it."""
    for path in folder.iterdir():
        path.unlink()


def middle_of(folder: Path, part: str) -> int:
    """Offset in the file of the middle of the part's first tensor."""
    with (folder / TENSORS).open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(n_header))
    begin, end = min(about["data_offsets"] for name, about in header.items() if name.startswith(part))
    return 8 + n_header + (begin + end) // 2


def flip(path: Path, at: int | None = None) -> None:
    """Change one bit, by default in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 4
    path.write_bytes(content)


ELEVEN: dict[str, Fault] = {
    "weights cut short": cut_in("weights/"),
    "optimizer cut short": cut_in("optimizer/"),
    "weights missing": lambda folder: (folder / TENSORS).unlink(),
    "record of the run missing": lambda folder: (folder / MANIFEST).unlink(),
    "record of the run empty": lambda folder: (folder / MANIFEST).write_text(""),
    "empty folder": empty_folder,
    "optimizer missing": without("optimizer/"),
    "schedule missing": without_rates,
    "random state missing": without("random"),
    "bit flipped in the weights": flip_in("weights/"),
    "bit flipped in the optimizer": flip_in("optimizer/"),
}


def from_before(file: str) -> Fault:
    """The file is that of the checkpoint before."""

    def swap(folder: Path) -> None:
        before = sorted(folder.parent.glob("step_*"))[-2]
        (folder / file).write_bytes((before / file).read_bytes())

    return swap


def of_another_version(folder: Path) -> None:
    """Whole, and of a version that is not known here."""
    about = json.loads((folder / MANIFEST).read_text())
    del about["sha256"]
    about["schema_version"] = 99
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps({"sha256": digest, **about}))


MORE: dict[str, Fault] = {
    "tensors empty": lambda folder: (folder / TENSORS).write_bytes(b""),
    "tensors zeroed": lambda folder: (folder / TENSORS).write_bytes(bytes((folder / TENSORS).stat().st_size)),
    "tensors of the checkpoint before": from_before(TENSORS),
    "record cut short": lambda folder: os.truncate(folder / MANIFEST, (folder / MANIFEST).stat().st_size // 2),
    "record zeroed": lambda folder: (folder / MANIFEST).write_bytes(bytes((folder / MANIFEST).stat().st_size)),
    "bit flipped in the record": lambda folder: flip(folder / MANIFEST),
    "record of the checkpoint before": from_before(MANIFEST),
    "another version": of_another_version,
}
