"""Which rows of an old classifier serve the classes of a new one, by the names of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from trainwright.errors import InvalidInputError

How = Literal["exact", "normalized", "synonym"]


def normalized(name: str) -> str:
    """Letters and digits alone, in lower case.

    >>> normalized("Sea-Lion_2")
    'sealion2'
    """
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def matched_rows(
    old: Sequence[str], new: Sequence[str], synonyms: Sequence[tuple[str, str]] = ()
) -> dict[int, tuple[int, How]]:
    """For each new class that an old one means the same as: the old row, and how the names met.

    Exact names first, then normalized ones, then synonyms. Raises InvalidInputError when a name meets two rows, or two
    new classes meet one row.

    >>> matched_rows(["cat", "Sea lion", "car"], ["sea_lion", "automobile", "tree"], [("car", "automobile")])
    {0: (1, 'normalized'), 1: (2, 'synonym')}
    """
    found: dict[int, tuple[int, How]] = {}
    for number, name in enumerate(new):
        for how, same in _meanings(name, synonyms):
            rows = [row for row, label in enumerate(old) if (label if how == "exact" else normalized(label)) in same]
            if len(rows) > 1:
                listed = ", ".join(repr(old[row]) for row in rows)
                raise InvalidInputError(
                    f"the label {name!r} matches {len(rows)} rows of the starting head: {listed}",
                    hint="rename one of them, or set transfer.reuse_rows = false",
                )
            if rows:
                found[number] = (rows[0], how)
                break
    _refuse_shared(old, new, found)
    return found


def _meanings(name: str, synonyms: Sequence[tuple[str, str]]) -> tuple[tuple[How, frozenset[str]], ...]:
    folded = normalized(name)
    pairs = [(normalized(one), normalized(other)) for one, other in synonyms]
    same = {other for one, other in pairs if one == folded} | {one for one, other in pairs if other == folded}
    return ("exact", frozenset({name})), ("normalized", frozenset({folded})), ("synonym", frozenset(same))


def _refuse_shared(old: Sequence[str], new: Sequence[str], found: Mapping[int, tuple[int, How]]) -> None:
    taken: dict[int, int] = {}
    for number, (row, _) in found.items():
        if row in taken:
            raise InvalidInputError(
                f"the labels {new[taken[row]]!r} and {new[number]!r} both match the starting head's {old[row]!r}",
                hint="merge the two classes, or set transfer.reuse_rows = false",
            )
        taken[row] = number
