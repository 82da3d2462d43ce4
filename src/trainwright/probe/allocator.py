"""How a process that computes minds its memory: the C library keeps freed pages, Python looks for garbage seldom. The
probe measures so, and the runtime runs so.
"""

from __future__ import annotations

import ctypes
import gc
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt (malloc.h)."""


def keep_pages() -> bool:
    """Let this process keep the memory it frees; True where the C library could be told.

    glibc hands large freed blocks back to the kernel and faults them in again, page by page, in every step: 48,600
    faults and 4 % of a step of a small model on two cores. Told to keep its pages it takes about 1,300, and a step
    always takes the same time. The resident set then stays at its highest point. Elsewhere than on Linux with glibc
    nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 2**26))
    accepted = sum(int(mallopt(parameter, value)) for parameter, value in settings)
    return accepted == len(settings)


def collect_again() -> None:
    """Look for garbage from now on, but never among what is there.

    Our processes start with ``gc.disable()``: a fifth of the time of importing torch and transformers is looking for
    garbage, and all of it stays.
    """
    gc.freeze()
    gc.enable()
