"""Which device a process computes on, and what is set up around it: the one place that knows CPU from GPU.

A plan names the type; a process takes the GPU of its place on its machine. What is small and read by the host (loss,
norm, stop flags, checkpoints' bookkeeping) stays on the CPU and goes over gloo on either; the rest follows the device.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.env import settle_gpu_settings
from trainwright.errors import InvalidInputError

PCI = Path("/sys/bus/pci/devices")


def device_of(device_type: str, local_rank: int) -> torch.device:
    """The device of the process that is ``local_rank`` on its machine; makes a GPU the current one.

    Raises InvalidInputError when the machine has no such GPU.
    """
    if device_type != "cuda":
        return torch.device(device_type)
    n_there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if local_rank >= n_there:
        raise InvalidInputError(
            f"the plan is for GPUs, and process {local_rank} of this machine finds {n_there} that torch can use",
            hint="plan again on this machine (trainwright plan), start one process for each GPU, or look at "
            "`trainwright doctor` and CUDA_VISIBLE_DEVICES",
        )
    settle_gpu_settings()
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    torch.cuda.init()
    return device


def backend_of(device_type: str) -> str:
    """torch's name for what carries collectives: NCCL what lies on GPUs, gloo what lies in host memory.

    >>> backend_of("cpu"), backend_of("cuda")
    ('gloo', 'cpu:gloo,cuda:nccl')
    """
    return "cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo"


def to_device(model: nn.Module, device: torch.device) -> None:
    """Move parameters and buffers, in place and ties kept; those without content (device ``meta``) stay."""
    if device.type != "cpu":
        model._apply(lambda tensor: tensor if tensor.is_meta else tensor.to(device))


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A batch's tensor on the device; to a GPU from pinned memory, so that the copy runs beside the host."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def stay_near(device: torch.device, describe: Callable[[torch.device], Any] | None = None, pci: Path = PCI) -> None:
    """Keep a GPU's process on the cores of the memory node that the GPU hangs on, where the system tells it."""
    if device.type != "cuda":
        return
    about: Any = (describe or torch.cuda.get_device_properties)(device)
    cores = cores_near(f"{about.pci_domain_id:04x}:{about.pci_bus_id:02x}:{about.pci_device_id:02x}.0", pci)
    allowed = cores & os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    if allowed:
        os.sched_setaffinity(0, allowed)


def cores_near(address: str, pci: Path = PCI) -> set[int]:
    """The cores beside a PCI device; none where nothing is known."""
    try:
        text = (pci / address / "local_cpulist").read_text(encoding="ascii").strip()
    except OSError:
        return set()
    return parse_cores(text)


def parse_cores(text: str) -> set[int]:
    """The numbers of a list as Linux writes it.

    >>> sorted(parse_cores("0-2,8")), parse_cores("")
    ([0, 1, 2, 8], set())
    """
    spans = [part.partition("-") for part in text.split(",") if part]
    return {core for first, _, last in spans for core in range(int(first), int(last or first) + 1)}
