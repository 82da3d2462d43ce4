"""Seconds of ops that do the same for every element, and of copies between 16 and 32 bits: as measured, or by bytes."""

from __future__ import annotations

from trainwright.cost.kernels import kernel_s
from trainwright.cost.pointwise import stream_s
from trainwright.hardware.device import Device
from trainwright.models.spec import Pointwise
from trainwright.units import Number

GATED_PASSES = {"gated_silu": (5.0, 9.0), "gated_gelu": (5.0, 9.0)}
"""Times that the two kernels of a gated function, measured together, go over their elements, forward and backward."""
OWN_PASSES = (2.0, 3.0)
"""The same of every other measured kernel: input read, output written; input and gradient read, gradient written."""


def elementwise_s(
    op: Pointwise, elements: Number, each_bytes: float, traffic: float, device: Device
) -> tuple[Number, Number]:
    """Seconds (forward, backward) of an op over so many elements of so many bytes each.

    Where its kind was measured, by that, and what its backward moves beyond the kernel's own by bytes; else all by
    bytes, each kernel at least its launch. ``traffic`` multiplies what is moved.
    """
    kind = _kind(op, each_bytes, device)
    forward, backward = float(op.n_kernels), float(op.backward_kernels)
    times = forward / 2.0 if op.kernel in GATED_PASSES else forward

    def moved_s(passes: float, n_kernels: float, exp: Number = 0.0) -> Number:
        each = max(passes, 0.0) / max(n_kernels, 1.0) * traffic
        return n_kernels * _moved_s(each, elements, each_bytes, device, exp)

    if kind:
        forward_s = times * kernel_s(kind, elements, device)
    else:
        forward_s = moved_s(op.reads + op.writes, forward, elements * op.transcendental / max(forward, 1.0))
    if not op.backward_kernels:
        return forward_s, 0.0
    own_s = times * kernel_s(kind, elements, device, backward=True)
    own = GATED_PASSES.get(op.kernel, OWN_PASSES)[1] if kind else 0.0
    return forward_s, own_s + moved_s(op.backward_reads + op.backward_writes - own, backward)


def _kind(op: Pointwise, each_bytes: float, device: Device) -> str:
    """The kind that was measured: in 16 bits where the op runs in them and that was measured; "" where none was."""
    measured = device.efficiency.kernels
    if each_bytes == 2.0 and f"half_{op.kernel}" in measured:
        return f"half_{op.kernel}"
    return op.kernel if op.kernel in measured else ""


def _moved_s(passes: float, elements: Number, each_bytes: float, device: Device, exp: Number) -> Number:
    """One kernel that goes so often over its elements. In 16 bits a CPU was measured on three passes: it computes in 32
    and is slower than its bytes tell.
    """
    if each_bytes == 2.0 and device.kind == "cpu" and "half" in device.efficiency.kernels:
        return passes / 3.0 * kernel_s("half", elements, device)
    return stream_s(passes * elements * each_bytes, device, transcendental=exp)


def cast_s(elements: Number, device: Device, *, backward: bool = False) -> Number:
    """Seconds of a copy of so many elements from 32 bits to 16 (``backward``: from 16 to 32).

    >>> from trainwright.hardware.catalogue import device
    >>> round(1e6 * float(cast_s(1e9, device("H100-SXM"))))  # 6 GB at some 3 TB/s
    1689
    """
    if "cast" in device.efficiency.kernels:
        return kernel_s("cast", elements, device, backward=backward)
    return stream_s(6.0 * elements, device)
