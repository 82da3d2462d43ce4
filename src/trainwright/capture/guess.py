"""What a meta tensor cannot know: values read in Python, and shapes that depend on data. Guessed, and told.

A number read from a tensor is taken as 1, a truth as True (False after ``PATIENCE`` reads at one line, so that loops
end); a selection is taken to select everything. Each guess keeps the line of user code that asked for it.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainwright.capture.flop import tensors_in

PATIENCE = 8
"""How often a truth is guessed True at one line before it is guessed False."""

_OURS = str(Path(__file__).parent.parent)
_FOREIGN = tuple(str(Path(module.__file__ or "").parent) for module in (torch,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A value or shape that only a real run would know: where it was asked, what was taken, how often."""

    line: str
    op: str
    taken: str
    times: int = 1


def is_foreign(path: str, own_only: bool = True) -> bool:
    """Whether a source file belongs to torch or this package; or to transformers, if ``own_only``."""
    return path.startswith((*_FOREIGN, _OURS, "<")) or (own_only and "/transformers/" in path)


def user_line(own_only: bool = True) -> str:
    """``file:line`` of the innermost frame outside torch and this package; and transformers, if ``own_only``.

    A backward that torch runs has no such frame.
    """
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if not is_foreign(path, own_only):
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "a line of backward"


class Guesser:
    """Answers the ops that a meta tensor cannot, and remembers what it took."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str, str]] = Counter()

    @property
    def guesses(self) -> tuple[Guess, ...]:
        """All guesses so far, each line once."""
        return tuple(
            Guess(line=line, op=op, taken=taken, times=times) for (line, op, taken), times in self._seen.items()
        )

    def note(self, op: str, taken: str) -> int:
        """Remember one guess; how often this line asked before."""
        key = (user_line(own_only=False), op, taken)
        self._seen[key] += 1
        return self._seen[key] - 1

    def scalar(self, tensor: torch.Tensor) -> bool | int | float:
        """The number that ``.item()``, ``if``, ``float()`` get."""
        if tensor.dtype == torch.bool:
            asked = self.note("truth of a tensor", f"True, {PATIENCE} times at most, then False")
            return asked % (PATIENCE + 1) < PATIENCE
        self.note("value of a tensor", "1")
        return 1.0 if tensor.dtype.is_floating_point else 1

    def select(self, name: str, args: tuple[Any, ...]) -> Any:
        """Selections by data: everything is selected. None where ``name`` is not one of them."""
        if name == "nonzero":
            self.note("nonzero", "every element")
            return args[0].new_empty((args[0].numel(), args[0].dim()), dtype=torch.int64)
        if name == "masked_select":
            self.note("masked_select", "every element")
            return args[0].new_empty((torch.broadcast_shapes(args[0].shape, args[1].shape).numel(),))
        if name in ("_unique2", "unique_consecutive", "unique_dim"):
            self.note("unique", "every element is distinct")
            flat = args[0].new_empty((args[0].numel(),))
            counts = flat.new_empty(flat.shape, dtype=torch.int64)
            return flat, counts.reshape(args[0].shape), counts
        return None

    def plain_indices(self, indices: Any) -> Any:
        """Boolean masks among indices become index tensors that select every element."""
        if not any(isinstance(i, torch.Tensor) and i.dtype in (torch.bool, torch.uint8) for i in indices):
            return indices
        self.note("index with a mask", "every element")
        plain: list[Any] = []
        for index in indices:
            if isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8):
                plain += [index.new_empty((index.numel(),), dtype=torch.int64) for _ in range(index.dim())]
            else:
                plain.append(index)
        return plain


def like_inputs(func: Any, args: tuple[Any, ...]) -> Any:
    """Results of an op nobody knows: as many as its schema names, each shaped like the input in its place."""
    found = [t for t in tensors_in(args) if t.dtype.is_floating_point] or tensors_in(args)
    returns = func._schema.returns
    shaped = [torch.empty_like(found[min(i, len(found) - 1)], device="meta") for i in range(len(returns))]
    return shaped[0] if len(returns) == 1 else tuple(shaped)
