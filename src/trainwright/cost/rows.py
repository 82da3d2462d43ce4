"""Seconds of a GPU's eager kernels that go over each row of their input more than once: layer norms and softmax."""

from __future__ import annotations

import numpy as np

from trainwright.cost.numbers import larger, smaller
from trainwright.cost.pointwise import stream_s
from trainwright.hardware.device import Device
from trainwright.models.spec import Pointwise
from trainwright.units import Number

HELD_THREADS = {"Turing": 1024, "Ampere": 1536, "Ampere-Pro": 1536, "Ada": 1536, "Ada-Pro": 1536, "Blackwell-RTX": 1536}
"""Threads that a multiprocessor holds at a time, else 2,048. Source: CUDA C++ programming guide, table of compute
capabilities, maximum resident threads."""
SPLIT_CACHE = ("Ampere-GA100", "Hopper")
"""Architectures whose last-level cache is two, each for the units beside it. Source: NVIDIA's A100 whitepaper."""
NORM_THREADS = 128
"""Threads that take one row of a layer norm. Source: PyTorch, layer_norm_kernel.cu, vectorized_layer_norm_kernel."""
WARP_ROW = 1024
"""Longest row that a softmax keeps in a warp's registers. Source: PyTorch, PersistentSoftmax.cuh."""
THREAD_BYTES = 16
"""What a thread of a longer softmax reads at a time; a row has 1,024 threads at most (PyTorch, SoftMax.cu)."""


def layer_norm_s(n_rows: Number, width: Number, each_bytes: float, device: Device) -> Number:
    """Seconds of a layer norm's forward: a row is read for its mean and variance, and read again when it is written.

    The second reading comes from the cache while all rows in flight fit there (``RowKernel.half`` of it, half do).
    Source: PyTorch, aten/src/ATen/native/cuda/layer_norm_kernel.cu.

    >>> from trainwright.hardware.catalogue import device
    >>> t4, v100 = device("T4"), device("V100-PCIe-32GB")
    >>> short, long = (float(layer_norm_s(2**27 / width, width, 4.0, t4)) for width in (512, 8192))
    >>> round(long / short, 2)  # three passes over memory instead of two, of fewer rows
    1.36
    """
    kernel = device.efficiency.rows["layer_norm"]
    in_flight = smaller(n_rows, _units(device) * _held(device) / NORM_THREADS) * width * each_bytes
    passes = 2.0 + _missed(in_flight, kernel.half, device)
    return stream_s(passes * n_rows * width * each_bytes, device) + n_rows / _units(device) * kernel.row_s


def softmax_s(n_rows: Number, width: Number, each_bytes: float, device: Device) -> Number:
    """Seconds of a softmax's forward: short rows stay in registers, longer ones are read three times.

    For the maximum, for the sum, and when the result is written. Source: PyTorch, aten/src/ATen/native/cuda/SoftMax.cu.

    >>> from trainwright.hardware.catalogue import device
    >>> t4 = device("T4")
    >>> short, long = (float(softmax_s(2**27 / width, width, 4.0, t4)) for width in (512, 32768))
    >>> round(long / short, 2)  # four passes over memory instead of two
    1.99
    """
    kernel = device.efficiency.rows["softmax"]
    is_long = np.asarray(width) > WARP_ROW
    row_bytes = width * each_bytes
    in_flight = _units(device) * _held(device) * larger(THREAD_BYTES, row_bytes / 1024.0)
    in_flight = smaller(in_flight, n_rows * row_bytes)
    again = np.where(is_long, 2.0 * _missed(in_flight, kernel.half, device), 0.0)
    rows_s = np.where(is_long, n_rows / _units(device) * kernel.row_s, 0.0)
    seconds: Number = stream_s((2.0 + again) * n_rows * row_bytes, device) + rows_s
    return seconds


def again_s(n_rows: Number, width: Number, each_bytes: float, device: Device) -> Number:
    """Seconds that a softmax takes beyond reading each row once and writing it; 0 where nobody fitted any."""
    if "softmax" not in device.efficiency.rows:
        return 0.0
    seconds: Number = softmax_s(n_rows, width, each_bytes, device)
    return seconds - stream_s(2.0 * n_rows * width * each_bytes, device)


def is_row_norm(op: Pointwise, device: Device) -> bool:
    """Whether an op is a layer norm whose rows are known (two parameters an element of one), and no probe timed it."""
    known = device.efficiency
    is_known = "layer_norm" in known.rows and "layer_norm" not in known.kernels
    return is_known and op.kernel == "layer_norm" and op.n_parameters > 0


SHARPNESS = 4.0
"""How suddenly rows in flight outgrow a cache: at twice ``half`` of it 94 % is read from memory again."""


def _missed(in_flight_bytes: Number, half: float, device: Device) -> Number:
    """Share of what is read again that the cache no longer holds; all of it where no cache is known."""
    if not device.cache_bytes:
        return 1.0
    cache = device.cache_bytes * (0.5 if device.architecture in SPLIT_CACHE else 1.0)
    filled = (in_flight_bytes / (half * cache)) ** SHARPNESS
    missed: Number = filled / (1.0 + filled)
    return missed


def _held(device: Device) -> float:
    return float(HELD_THREADS.get(device.architecture, 2048))


def _units(device: Device) -> float:
    return float(device.n_units or 100)
