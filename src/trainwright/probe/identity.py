"""Which machine this is, without importing torch: processor, cores, memory, GPUs, and the version of torch."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What makes two machines different for a profile."""

    processor: str
    n_cores: int
    memory_bytes: float
    gpus: tuple[str, ...]
    torch_version: str

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of everything here."""
        text = f"{self.processor}|{self.n_cores}|{self.memory_bytes / 2**30:.0f}|{self.gpus}|{self.torch_version}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def description(self) -> str:
        """For people."""
        gpus = f", {len(self.gpus)} x {self.gpus[0]}" if self.gpus else ""
        memory = f"{self.memory_bytes / 2**30:.0f} GiB"
        return f"{self.processor}, {self.n_cores} cores, {memory}{gpus}, torch {self.torch_version}"


def identity() -> Identity:
    """This machine's."""
    return Identity(
        processor=_processor(),
        n_cores=n_cores(),
        memory_bytes=_memory_bytes(),
        gpus=_gpus(),
        torch_version=_torch_version(),
    )


def n_cores() -> int:
    """Cores this process may use: affinity, then the control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        allowed = max(1, min(allowed, int(quota[0]) // int(quota[1])))
    return allowed


def busy_core_s() -> float:
    """Seconds that all cores together have worked since the machine started, for anybody; 0 where nobody tells."""
    numbers = _read("/proc/stat").partition("\n")[0].split()[1:]
    if len(numbers) < 8:
        return 0.0
    user, nice, system, _idle, _waiting, interrupt, soft, stolen = (float(number) for number in numbers[:8])
    return (user + nice + system + interrupt + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    lines = dict(re.findall(r"^(vendor_id|cpu family|model|model name)\s*:\s*(.*)$", _read("/proc/cpuinfo"), re.M))
    if not lines:
        return platform.processor() or platform.machine()
    return f"{lines.get('model name', platform.machine())} ({lines.get('cpu family')}/{lines.get('model')})"


def _memory_bytes() -> float:
    found = re.search(r"MemTotal:\s*(\d+) kB", _read("/proc/meminfo"))
    total = float(found[1]) * 1024 if found else float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    return min(total, float(limit)) if limit.isdigit() else total


def _gpus() -> tuple[str, ...]:
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    names = (re.search(r"Model:\s*(.*)", _read(str(path))) for path in files)
    return tuple(found[1].strip() for found in names if found)


def _torch_version() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
