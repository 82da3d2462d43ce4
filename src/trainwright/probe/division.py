"""Ways of cutting a machine into processes."""

from __future__ import annotations

from dataclasses import dataclass

from trainwright.probe.identity import Identity

MOST_PROCESSES = 16
"""Each process imports torch, 0.3 GiB and 2 s of a core; more of them do not measure in the time allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """One way of cutting the machine: processes times threads, on its cores or on its GPUs."""

    device: str
    n_processes: int
    n_threads: int

    @property
    def name(self) -> str:
        """For people: ``2 processes x 1 thread``.

        >>> Division(device="cpu", n_processes=2, n_threads=1).name
        '2 processes x 1 thread'
        """
        what = "process" if self.device == "cpu" else "GPU"
        processes = f"{self.n_processes} {what}{'es' if what == 'process' and self.n_processes > 1 else ''}"
        return f"{processes} x {self.n_threads} thread{'s' if self.n_threads > 1 else ''}"


def divisions(who: Identity) -> tuple[Division, ...]:
    """Each GPU its process, alone and all together; or the cores as one process, two, and one each.

    >>> who = Identity(processor="p", n_cores=8, memory_bytes=1e9, gpus=(), torch_version="2")
    >>> [(cut.n_processes, cut.n_threads) for cut in divisions(who)]
    [(1, 8), (2, 4), (8, 1)]
    """
    if who.gpus:
        threads = max(1, who.n_cores // len(who.gpus))
        return tuple(Division(device="cuda", n_processes=n, n_threads=threads) for n in sorted({1, len(who.gpus)}))
    counts = sorted({n for n in (1, 2, who.n_cores) if who.n_cores % n == 0 and n <= MOST_PROCESSES})
    return tuple(Division(device="cpu", n_processes=n, n_threads=who.n_cores // n) for n in counts)
