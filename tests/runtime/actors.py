"""Workers without torch, for the launcher's tests: what each does stands in the file named for its rank."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from trainwright.errors import DataError
from trainwright.runtime.launch import Orders


def work(orders: Orders, telephone: Any) -> str:
    role = (orders.folder / f"role_{orders.rank}").read_text()
    (orders.folder / f"pid_{orders.rank}").write_text(str(os.getpid()))
    telephone.tell("beat", 7, "computing")
    telephone.tell("event", f"{orders.rank} begins")
    if role == "fails":
        raise DataError("no such file: a.txt", hint="name another")
    if role == "crashes":
        raise RuntimeError("the sky fell")
    if role == "loses its neighbour":
        time.sleep(0.3)
        raise RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:1")
    if role == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if role == "leaves early":
        os._exit(0)
    if role == "waits":
        telephone.tell("beat", 7, "waiting for the others to join gradients")
    if role in ("waits", "hangs"):
        time.sleep(60)
    return f"result of {orders.rank} with {os.environ['OMP_NUM_THREADS']} threads"
