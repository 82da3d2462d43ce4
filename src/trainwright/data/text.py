"""Text to documents: the built-in reference or the user's own files, and which documents are held out.

The built-in text is the Python language reference that CPython carries as ``pydoc_data.topics``: one document a topic.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainwright.errors import DataError, unknown_name
from trainwright.jobs.job import TextData

SUFFIXES = (".txt", ".text", ".md", ".rst", ".tex", ".py", ".html", ".xml", ".csv", ".json", ".jsonl")
"""Files taken from a folder; a file that is named itself may have any suffix."""

BUILTINS = ("python-reference",)
FEW_DOCUMENTS = 10
"""With fewer documents than this the held-out text is the end of each, not whole documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text with the name it goes by: a topic, or a file's path."""

    name: str
    text: str


def read_documents(data: TextData) -> tuple[Document, ...]:
    """Every non-empty document that the job names, in an order that depends on names alone."""
    documents = _builtin(data.builtin) if data.builtin is not None else _files(data.paths)
    kept = tuple(document for document in documents if document.text.strip())
    if not kept:
        where = data.builtin or ", ".join(map(str, data.paths))
        raise DataError(f"the text is empty: {where}", hint="name files that hold text")
    return kept


def source_files(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The files that the paths name: themselves, or the text files below a folder, sorted."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not below:
                raise DataError(f"no text files in {path}", hint=f"a text file ends in {', '.join(SUFFIXES)}")
            found += below
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"no such file: {path}", hint=_neighbours(path))
    return tuple(dict.fromkeys(found))


def split_held_out(documents: Sequence[Document], share: float) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
    """(training, held out): about ``share`` of the text, chosen by the hash of a document's name.

    Whole documents are held out, so no sentence of a held-out topic is ever seen. Of fewer than FEW_DOCUMENTS the
    last part of each is held out instead.
    """
    if share <= 0:
        return tuple(documents), ()
    if len(documents) < FEW_DOCUMENTS:
        cuts = [(d, int(len(d.text) * (1 - share))) for d in documents]
        return (
            tuple(Document(name=d.name, text=d.text[:cut]) for d, cut in cuts),
            tuple(Document(name=f"{d.name} (end)", text=d.text[cut:]) for d, cut in cuts),
        )
    wanted = share * sum(len(d.text) for d in documents)
    held: set[str] = set()
    for document in sorted(documents, key=lambda d: hashlib.sha256(d.name.encode()).digest()):
        if len(document.text) <= wanted:
            held.add(document.name)
            wanted -= len(document.text)
    return tuple(d for d in documents if d.name not in held), tuple(d for d in documents if d.name in held)


def _builtin(name: str) -> list[Document]:
    if name not in BUILTINS:
        raise unknown_name("built-in text", name, BUILTINS)
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    return [Document(name=topic, text=topics[topic]) for topic in sorted(topics)]


def _files(paths: Sequence[Path]) -> list[Document]:
    return [Document(name=str(path), text=_read(path)) for path in source_files(paths)]


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not UTF-8: byte {content[error.start]:#04x} at line {line} (offset {error.start})",
            hint=f"convert it, as in `iconv -f latin1 -t utf-8 {path.name}`",
        ) from error


def _neighbours(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder} either"
    names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)[:5]
    return f"{folder} has {', '.join(names)}" if names else f"{folder} has no text files"
