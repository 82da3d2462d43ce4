"""What a machine says of itself, for the comparison with what was measured: clocks, vector units, power, the PCIe port.

Read from the system's files and, where there is a GPU, from nvidia-smi; nothing is changed, and what nobody tells is
left out. Names carry their unit; ``hardware/promise.py`` reads them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

NVIDIA = {
    "power.draw": "power_w",
    "power.limit": "power_limit_w",
    "power.default_limit": "power_default_w",
    "clocks.sm": "clock_mhz",
    "clocks.max.sm": "clock_max_mhz",
    "pcie.link.gen.current": "pcie_gen",
    "pcie.link.gen.max": "pcie_gen_max",
    "pcie.link.width.current": "pcie_lanes",
    "pcie.link.width.max": "pcie_lanes_max",
    "utilization.gpu": "others_percent",
    "clocks_throttle_reasons.hw_thermal_slowdown": "throttled_by_heat",
    "clocks_throttle_reasons.sw_power_cap": "throttled_by_power",
}
"""Fields of nvidia-smi --query-gpu and what they are called here."""


def cpu_facts() -> dict[str, float]:
    """Clock, FLOP a core could start in a cycle, and the mean power where the kernel tells it."""
    text = _read(Path("/proc/cpuinfo"))
    found = {f"flop_per_cycle_{dtype}": value for dtype, value in flop_per_cycle(text).items()}
    clocks = [float(value) for value in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", text, re.M)]
    highest = _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")).strip()
    if clocks:
        found["clock_mhz"] = max(clocks)
    if highest.isdigit():
        found["clock_max_mhz"] = float(highest) / 1e3
    return found


def flop_per_cycle(text: str) -> dict[str, float]:
    """Operations by dtype that one core of this /proc/cpuinfo can start in a cycle; empty where nobody knows.

    fp32: two fused units of the vector's width; AMD's Zen 3 and 4 (family 25) work on 512 bits in halves. bf16: twice
    that with avx512_bf16, 1024 with AMX. Sources: Fog, "The microarchitecture of Intel, AMD and VIA CPUs", agner.org,
    2024; Intel, "Accelerate AI workloads with Intel AMX", 2022.

    >>> flop_per_cycle("vendor_id : AuthenticAMD\\ncpu family : 25\\nflags : fma avx2 avx512f avx512_bf16")
    {'fp32': 32.0, 'bf16': 64.0}
    """
    flags = set((re.findall(r"^flags\s*:\s*(.*)$", text, re.M) or [""])[0].split())
    family = (re.findall(r"^cpu family\s*:\s*(\d+)", text, re.M) or [""])[0]
    whole = "avx512f" in flags and not ("AuthenticAMD" in text and family == "25")
    fp32 = 64.0 if whole else 32.0 if {"avx2", "fma"} <= flags else 0.0
    bf16 = 1024.0 if "amx_bf16" in flags else 2.0 * fp32 if "avx512_bf16" in flags else 0.0
    return {dtype: value for dtype, value in (("fp32", fp32), ("bf16", bf16)) if value}


def energy_j() -> float | None:
    """Joules that the processors have used since some moment, where the kernel lets this user read it."""
    values = [_read(path).strip() for path in Path("/sys/class/powercap").glob("intel-rapl:?/energy_uj")]
    numbers = [float(value) for value in values if value.isdigit()]
    return sum(numbers) / 1e6 if numbers else None


def gpu_facts() -> dict[str, float]:
    """What nvidia-smi says of the first GPU while it rests; nothing where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    command = [tool, "-i", "0", f"--query-gpu={','.join(NVIDIA)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return read_nvidia(done.stdout) if done.returncode == 0 else {}


def read_nvidia(line: str) -> dict[str, float]:
    """The line that nvidia-smi prints, by our names; fields it does not support are left out.

    >>> read_nvidia("71.2, 400.00, 700.00, 1980, 1980, 4, 5, 4, 16, 0, Not Active, [N/A]")["pcie_lanes"]
    4.0
    """
    found: dict[str, float] = {}
    for name, cell in zip(NVIDIA.values(), line.strip().split(","), strict=False):
        text = cell.strip()
        if text in ("Active", "Not Active"):
            found[name] = float(text == "Active")
        elif re.fullmatch(r"[\d.]+", text):
            found[name] = float(text)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
