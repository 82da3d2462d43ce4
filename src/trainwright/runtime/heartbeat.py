"""Signs of life under a launcher other than ours: each process writes them to the store, process 0 reads them all."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch.distributed as dist

from trainwright.runtime.launch import GO_ON
from trainwright.runtime.place import Place
from trainwright.runtime.watch import STALL_S, Sign, stall

BEAT_S = 2.0
"""How often signs are written and read; far below STALL_S, far above what writing one costs."""


class Heartbeat:
    """A thread beside the run. When all stood still for ``hang_s``, process 0 says who is at fault and ends itself.

    The launcher then ends the others, or starts all again.
    """

    def __init__(self, store: Any, place: Place, hang_s: float, say: Callable[[str], None]) -> None:
        self._store = store.clone()
        self._place = place
        self._hang_s = hang_s
        self._say = say
        self._sign = ("starting", -1, time.monotonic())
        self._is_over = threading.Event()
        self._has_said = False
        self._launcher = os.getppid()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def beat(self, step: int, doing: str) -> None:
        """This process got so far and begins to do that."""
        self._sign = (doing, step, time.monotonic())

    def stop(self) -> None:
        """The run is over."""
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._is_over.wait(min(BEAT_S, self._hang_s / 4)):
                if os.getppid() != self._launcher:
                    os._exit(1)  # the launcher is gone: it would start others in our place
                doing, step, at = self._sign
                self._store.set(f"beat/{self._place.rank}", json.dumps([step, doing, time.monotonic() - at]))
                if self._place.leads:
                    self._look()
        except (RuntimeError, dist.DistStoreError):
            return  # the store is gone, and with it the process that held it: the next collective fails

    def _look(self) -> None:
        keys = [f"beat/{rank}" for rank in range(self._place.n_processes)]
        if not self._store.check(keys):
            return
        heard = [json.loads(text) for text in self._store.multi_get(keys)]
        signs = [Sign(rank=r, step=step, doing=doing, silent_s=s) for r, (step, doing, s) in enumerate(heard)]
        if hung := stall(signs, self._hang_s):
            sys.stderr.write(f"error: {hung}\nhint: {GO_ON}\n")
            sys.stderr.flush()
            os._exit(1)
        told = stall(signs, STALL_S)
        if told is not None and not self._has_said:
            self._say(told)
        self._has_said = told is not None
