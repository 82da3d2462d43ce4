"""The main program of one worker process: ``python -m trainwright.runtime.worker FD`` (see launch.py)."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

from trainwright.errors import TrainwrightError
from trainwright.runtime.folder import stay_in
from trainwright.runtime.launch import STOPPING, Orders


class Telephone:
    """The worker's end of the pipe to the launcher."""

    def __init__(self, descriptor: int) -> None:
        self._pipe = Connection(descriptor)
        self._lock = threading.Lock()
        self.orders: Orders = self._pipe.recv()
        self._answers: list[Any] = []
        self._arrived = threading.Semaphore(0)
        threading.Thread(target=self._watch, daemon=True).start()

    def tell(self, kind: str, *rest: Any) -> None:
        """Send a message; a launcher that is gone is not worth an exception, the watch ends this process."""
        with self._lock:
            self._pipe.send((kind, *rest))

    def ask(self) -> Any:
        """What the launcher says next."""
        self._arrived.acquire()
        return self._answers.pop(0)

    def _watch(self) -> None:
        while True:
            try:
                self._answers.append(self._pipe.recv())
            except (EOFError, OSError):
                os._exit(1)  # the launcher is gone: nobody would hear of what we do
            self._arrived.release()


def main(descriptor: int) -> int:
    """Follow the orders that come over the pipe; returns the exit code."""
    gc.disable()  # until the work has imported what it needs (probe/allocator.py, collect_again)
    for number in STOPPING:  # until the run takes them over they end this process, without a traceback
        signal.signal(number, signal.SIG_DFL)
    telephone = Telephone(descriptor)
    stay_in(telephone.orders.folder)
    module = importlib.import_module(telephone.orders.module)
    try:
        telephone.tell("done", module.work(telephone.orders, telephone))
    except TrainwrightError as error:
        telephone.tell("failed", error)
        return error.exit_code
    except BaseException:  # noqa: BLE001 the edge of the process: the launcher tells the user
        telephone.tell("crashed", traceback.format_exc())
        return 1
    return 0


if __name__ == "__main__":
    code = main(int(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # interpreters with gloo threads can take seconds, or abort, when taken down in order
