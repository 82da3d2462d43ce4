"""What a step took: its seconds by part, and the most bytes torch's allocator held."""

from __future__ import annotations

import resource
import statistics
import sys
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
from trainwright.runtime.collective import WIRE, Span
from trainwright.runtime.instant import Instant, instant, seconds_between, settle

PARTS = ("forward", "backward", "optimizer", "data")
"""What every step has; collectives come beside under their names, and in a pipeline the waiting."""


class Clock:
    """Splits one step's seconds into parts; time inside a collective goes to its name (runtime/collective.py)."""

    def __init__(self) -> None:
        WIRE.take()
        self._begin = instant()
        self._marks: list[tuple[str, Instant, list[Span]]] = []

    def mark(self, part: str) -> None:
        """What happened since the last mark was this part."""
        self._marks.append((part, instant(), WIRE.take()))

    def read(self) -> tuple[float, dict[str, float]]:
        """(seconds from the clock's making to its last mark, seconds by part, which add up to them)."""
        settle()
        parts = dict.fromkeys(PARTS, 0.0)
        before = self._begin
        for part, at, spans in self._marks:
            inside = 0.0
            for span in spans:
                taken = seconds_between(span.begin, span.end)
                parts[span.name] = parts.get(span.name, 0.0) + taken
                inside += taken
            parts[part] = parts.get(part, 0.0) + seconds_between(before, at) - inside
            before = at
        return seconds_between(self._begin, before), parts


def middle_half(steps: Sequence[StepRecord]) -> tuple[float, dict[str, float]]:
    """Mean seconds of the middle half of the steps by their length, and of each part; the parts add up to the whole.

    >>> from dataclasses import replace
    >>> one = StepRecord(step=0, loss=1, learning_rate=1, gradient_norm=1, tokens=1, seconds=2, time={"forward": 2})
    >>> slow = replace(one, seconds=90, time={"forward": 1, "data": 89})
    >>> middle_half([slow, one, replace(one, seconds=4, time={"forward": 3, "data": 1}), slow])
    (47.0, {'forward': 2.0, 'data': 45.0})
    """
    quarter = len(steps) // 4
    middle = sorted(steps, key=lambda step: step.seconds)[quarter : len(steps) - quarter]
    names = list(dict.fromkeys(name for step in middle for name in step.time))
    means = {name: statistics.fmean(step.time.get(name, 0.0) for step in middle) for name in names}
    return statistics.fmean(step.seconds for step in middle), means


def peak_bytes_of(action: Callable[[], object], alive: Iterable[Tensor]) -> float:
    """Run ``action`` and return the most bytes torch's allocator held meanwhile.

    On the CPU: what is alive before (each storage once), plus the highest point of the allocations and frees that
    torch's profiler reports. The action runs slower while watched, so its time does not count. Gradients must be absent
    before. The old profiler is used because the newer one takes a second to start and prints to stderr.
    """
    if torch.cuda.is_initialized():
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


def memory_bytes() -> float:
    """What this process takes now where it computes: a GPU's most since the start, or most resident memory."""
    return float(torch.cuda.max_memory_allocated()) if torch.cuda.is_initialized() else resident_bytes()
