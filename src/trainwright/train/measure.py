"""What a step took: its seconds by part, and the most bytes torch's allocator held."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.autograd import (  # type: ignore[attr-defined]
    ProfilerConfig,
    ProfilerState,
    _disable_profiler_legacy,
    _enable_profiler_legacy,
)

from trainwright.records.step import StepRecord
from trainwright.runtime.collective import WIRE

PARTS = ("forward", "backward", "optimizer", "communication", "data", "other")


class Clock:
    """Splits one step's seconds into PARTS; time inside collectives always goes to communication."""

    def __init__(self) -> None:
        self.parts = dict.fromkeys(PARTS, 0.0)
        self._begin = self._at = time.perf_counter()
        self._wire = WIRE.seconds

    def mark(self, part: str) -> None:
        """What happened since the last mark was this part."""
        now, wire = time.perf_counter(), WIRE.seconds
        self.parts[part] += now - self._at - (wire - self._wire)
        self.parts["communication"] += wire - self._wire
        self._at, self._wire = now, wire

    @property
    def seconds(self) -> float:
        """From the clock's making to its last mark."""
        return self._at - self._begin


def median_parts(steps: Sequence[StepRecord]) -> tuple[float, dict[str, float]]:
    """Median seconds of a step, and of each part."""
    return (
        statistics.median(step.seconds for step in steps),
        {part: statistics.median(step.time.get(part, 0.0) for step in steps) for part in PARTS},
    )


def peak_bytes_of(action: Callable[[], object], alive: Iterable[Tensor]) -> float:
    """Run ``action`` and return the most bytes torch's allocator held meanwhile.

    On the CPU: what is alive before (each storage once), plus the highest point of the allocations and frees that
    torch's profiler reports. The action runs slower while watched, so its time does not count. Gradients must be absent
    before. The old profiler is used because the newer one takes a second to start and prints to stderr.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        action()
        return float(torch.cuda.max_memory_allocated())
    before = sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in alive}.values())
    experimental = torch._C._profiler._ExperimentalConfig()
    config = ProfilerConfig(ProfilerState.CPU, False, True, False, False, False, experimental)
    _enable_profiler_legacy(config)
    try:
        action()
    finally:
        threads = _disable_profiler_legacy()
    level = highest = 0
    for event in (event for events in threads for event in events if str(event.kind()) == "memory_alloc"):
        level += event.cpu_memory_usage()
        highest = max(highest, level)
    return float(before + highest)


def resident_bytes() -> float:
    """The most resident memory this process ever had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else most * 1024)
