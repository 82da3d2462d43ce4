"""Which process the others wait for, from the signs of life that each gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STALL_S = 60.0
"""When nobody has got any further for so long, the user hears who waits for whom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """The last that was heard of a process: what it began to do in which step, and how long ago."""

    rank: int
    step: int
    doing: str
    silent_s: float


def stall(signs: Sequence[Sign], after_s: float) -> str | None:
    """Who keeps the others waiting, when none has given a sign of life for so long; None when one has.

    It is the one furthest behind; in the same step, one that does not itself wait.

    >>> ahead = Sign(rank=0, step=7, doing="waiting for the others to join gradients", silent_s=61)
    >>> behind = Sign(rank=1, step=7, doing="computing", silent_s=63)
    >>> stall([ahead, behind], 60).partition(" (")[0]
    'process 1 has not answered for 60 s: it is computing in step 7'
    >>> stall([ahead, behind], 62) is None
    True
    """
    if not signs or min(sign.silent_s for sign in signs) <= after_s:
        return None
    last = min(signs, key=lambda sign: (sign.step, sign.doing.startswith("waiting")))
    others = "; ".join(f"process {s.rank}: {s.doing} in step {s.step}" for s in signs if s is not last)
    return f"process {last.rank} has not answered for {after_s:.0f} s: it is {last.doing} in step {last.step}" + (
        f" ({others})" if others else ""
    )
