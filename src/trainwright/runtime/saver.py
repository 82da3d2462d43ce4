"""Checkpoints written while steps go on: what they hold is copied, and a thread writes the copy.

The threads of a run's processes talk through a process group of their own, so that their messages do not meet those of
the steps. One checkpoint at a time: the next one waits for the one before, as do the end of a run and a SIGTERM.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace

import psutil
import torch

from trainwright.errors import CheckpointError, TrainwrightError
from trainwright.runtime.checkpoint import Content, Shelf, save_checkpoint

WAIT_S = 5.0
"""A process that waits for its writer says so this often."""

Beat = Callable[[str], None]
"""Told what a process does while it waits."""

SPARE = 2.0
"""Steps go on beside a write only where so many times the copy is free; otherwise they wait, and nothing is copied."""


@dataclass(slots=True)
class Cost:
    """What n checkpoints took: steps waited ``stall_s`` for them, writing took ``writing_s``.

    ``n_bytes``: of this process in the last one. ``n_waited``: written while the steps waited, for want of memory.
    """

    stall_s: float = 0.0
    writing_s: float = 0.0
    n: int = 0
    n_bytes: int = 0
    n_waited: int = 0


class Saver:
    """Writes a run's checkpoints, one at a time, each in a thread where memory allows."""

    def __init__(self, shelf: Shelf) -> None:
        self.cost = Cost()
        self._shelf = shelf
        self._writer: threading.Thread | None = None
        self._problem: TrainwrightError | None = None

    @property
    def failed(self) -> bool:
        """Whether the last write came to nothing; the next call of save or wait raises why."""
        return self._problem is not None

    def save(self, content: Content, beat: Beat) -> None:
        """Copy what the checkpoint is to hold and begin to write it; raises CheckpointError of the one before."""
        begin = time.perf_counter()
        self._join(beat)
        mine = {name: piece for name, piece in content.pieces.items() if piece.owned}
        self.cost.n += 1
        self.cost.n_bytes = sum(piece.tensor.nbytes for piece in mine.values())
        if psutil.virtual_memory().available < SPARE * self.cost.n_bytes:
            self.cost.n_waited += 1
            self._write(replace(content, pieces=mine))
            self._raise()
        else:
            copies = {name: replace(piece, tensor=_copy(piece.tensor)) for name, piece in mine.items()}
            content = replace(content, pieces=copies, state=deepcopy(content.state))
            self._writer = threading.Thread(target=self._write, args=(content,), daemon=True)
            self._writer.start()
        self.cost.stall_s += time.perf_counter() - begin

    def wait(self, beat: Beat) -> None:
        """Until what was begun is on the disk; raises CheckpointError when it is not."""
        begin = time.perf_counter()
        self._join(beat)
        self.cost.stall_s += time.perf_counter() - begin

    def give_up(self, within_s: float) -> None:
        """Let a write end that is under way, but do not wait for longer; for a run that failed for another reason."""
        if self._writer is not None:
            self._writer.join(within_s)

    @property
    def is_writing(self) -> bool:
        """Whether a thread is at it."""
        return self._writer is not None and self._writer.is_alive()

    def _join(self, beat: Beat) -> None:
        while self.is_writing:
            beat("waiting for a checkpoint to be written")
            assert self._writer is not None
            self._writer.join(WAIT_S)
        self._writer = None
        self._raise()

    def _raise(self) -> None:
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem

    def _write(self, content: Content) -> None:
        begin = time.perf_counter()
        try:
            save_checkpoint(self._shelf, content)
        except TrainwrightError as error:
            self._problem = error
        except RuntimeError as error:  # torch's, when another process is gone
            self._problem = CheckpointError(
                f"the checkpoint of step {content.step} was not finished: {str(error).splitlines()[0]}",
                hint="run the same command again: it goes on from the newest checkpoint",
            )
        self.cost.writing_s += time.perf_counter() - begin


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    """In host memory, apart from what the next step changes."""
    return tensor.detach().to("cpu", copy=True)
