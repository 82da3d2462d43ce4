"""Token files in the run folder, made once: what a run and every restart of it reads.

``data/`` in a run folder holds tokenizer.json, train.npy, held_out.npy and, written last, data.json, which remembers
the source files. A source that changed since is an error: the run would not be the same run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright.data.text import Document, read_documents, source_files, split_held_out
from trainwright.data.tokenizer import end_of_text_id, make_tokenizer
from trainwright.errors import DataError
from trainwright.jobs.job import TextData

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens of a run, memory-mapped; ``documents`` are (name, first token) in the training stream."""

    train: NDArray[np.integer[Any]]
    held_out: NDArray[np.integer[Any]]
    vocabulary: int
    end_of_text: int | None
    documents: tuple[tuple[str, int], ...]

    def document_at(self, position: int) -> str:
        """The name of the training document that the token at ``position`` belongs to."""
        starts = np.array([start for _, start in self.documents])
        return self.documents[int(np.searchsorted(starts, position, side="right")) - 1][0]


def prepare_tokens(folder: Path, data: TextData, seq: int) -> Tokens:
    """Make ``folder`` (a run's data folder), or check that the sources are what they were, and open it."""
    record = folder / "data.json"
    if record.exists() and _is_whole(folder, json.loads(record.read_text(encoding="utf-8"))):
        _check_unchanged(json.loads(record.read_text(encoding="utf-8")), data)
        return open_tokens(folder)
    training, held_out = split_held_out(read_documents(data), data.held_out_share)
    tokenizer = make_tokenizer(data, [document.text for document in training])
    end = end_of_text_id(tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    train_ids, starts = _encode(tokenizer, training, end)
    held_ids, _ = _encode(tokenizer, held_out, end)
    _check_length(train_ids, held_ids, seq, data)
    small = tokenizer.get_vocab_size() <= 2**16
    for name, ids in (("train", train_ids), ("held_out", held_ids)):
        np.save(folder / f"{name}.npy", ids.astype(np.uint16 if small else np.uint32))
    fields = {
        "schema_version": SCHEMA_VERSION,
        "settings": _settings(data),
        "sources": _fingerprints(data),
        "vocabulary": tokenizer.get_vocab_size(),
        "end_of_text": end,
        "documents": [(document.name, start) for document, start in zip(training, starts, strict=True)],
        "n_bytes": {name: (folder / name).stat().st_size for name in ("train.npy", "held_out.npy", "tokenizer.json")},
    }
    partial = record.with_suffix(".part")
    partial.write_text(json.dumps(fields), encoding="utf-8")
    partial.replace(record)
    return open_tokens(folder)


def open_tokens(folder: Path) -> Tokens:
    """Open a prepared data folder; the arrays stay on disk."""
    fields = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    return Tokens(
        train=np.asarray(np.load(folder / "train.npy", mmap_mode="r")),
        held_out=np.asarray(np.load(folder / "held_out.npy", mmap_mode="r")),
        vocabulary=fields["vocabulary"],
        end_of_text=fields["end_of_text"],
        documents=tuple((name, start) for name, start in fields["documents"]),
    )


def _encode(tokenizer: Any, documents: Sequence[Document], end: int | None) -> tuple[NDArray[np.int64], list[int]]:
    """All documents in one stream, each followed by the end-of-text token, and where each begins."""
    pieces: list[int] = []
    starts: list[int] = []
    encoded = tokenizer.encode_batch([document.text for document in documents], add_special_tokens=False)
    for encoding in encoded:
        starts.append(len(pieces))
        pieces += encoding.ids
        if end is not None:
            pieces.append(end)
    return np.array(pieces, dtype=np.int64), starts


def _check_length(train: NDArray[np.int64], held_out: NDArray[np.int64], seq: int, data: TextData) -> None:
    if len(train) < seq + 1:
        raise DataError(
            f"the training text has {len(train)} tokens, shorter than one sequence of {seq} and its next token",
            hint=f"add text, or make training.sequence at most {max(len(train) - 1, 1)}",
        )
    if data.held_out_share > 0 and len(held_out) < seq + 1:
        raise DataError(
            f"the held-out text has {len(held_out)} tokens, shorter than one sequence of {seq} and its next token",
            hint="add text, raise data.held_out_share, or set it to 0 to train without a check",
        )


def _settings(data: TextData) -> dict[str, Any]:
    return {key: str(value) for key, value in asdict(data).items() if key != "paths"}


def _fingerprints(data: TextData) -> dict[str, dict[str, Any]]:
    """Size and hash by path; the built-in text is hashed as a whole."""
    if data.builtin is not None:
        text = "\0".join(d.name + "\0" + d.text for d in read_documents(data)).encode()
        return {f"builtin:{data.builtin}": {"n_bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}}
    return {str(path.resolve()): _fingerprint(path) for path in source_files(data.paths)}


def _fingerprint(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"n_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _is_whole(folder: Path, fields: dict[str, Any]) -> bool:
    """Whether every token file is there with the size it was written with."""
    return fields.get("schema_version") == SCHEMA_VERSION and all(
        (folder / name).exists() and (folder / name).stat().st_size == size for name, size in fields["n_bytes"].items()
    )


def _check_unchanged(fields: dict[str, Any], data: TextData) -> None:
    hint = "restore it, or start a new run in another folder"
    if fields["settings"] != _settings(data):
        raise DataError(f"the [data] settings changed since the run began (they were {fields['settings']})", hint=hint)
    then, now = fields["sources"], _fingerprints(data)
    for path in then:
        if path not in now:
            raise DataError(f"{path} was part of the data when the run began and is gone", hint=hint)
        if then[path] != now[path]:
            was, is_now = then[path]["n_bytes"], now[path]["n_bytes"]
            what = f"{was} bytes then, {is_now} now" if was != is_now else f"{was} bytes then and now, other content"
            raise DataError(f"{path} changed since the run began: {what}", hint=hint)
    for path in now:
        if path not in then:
            raise DataError(f"{path} was not part of the data when the run began", hint="remove it, or start a new run")
