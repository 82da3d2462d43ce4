"""What a measuring process is told, and what it answers; plain values, so that the parent needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainwright.hardware.device import UpdateCalls


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What one process is told. ``folder`` holds the meeting file and the answers; without ``with_all`` convolutions,
    LSTM layers and large kernels are left out.
    """

    device: str
    rank: int
    n_ranks: int
    n_threads: int
    budget_s: float
    link_sizes: tuple[int, ...]
    dtypes: tuple[str, ...]
    with_all: bool
    with_lessons: bool
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MatmulSample:
    """A linear layer's product (m, k) x (k, n), or the gradient of one of its operands (``layout``), measured."""

    dtype: str
    m: int
    n: int
    k: int
    layout: str
    seconds: float

    @property
    def sides(self) -> tuple[int, int, int]:
        """(m, n, k) of the product that was done: dX = dY W is (m, n) x (n, k), dW = dY^T X is (n, m) x (m, k)."""
        done = {"input_gradient": (self.m, self.k, self.n), "weight_gradient": (self.n, self.k, self.m)}
        return done.get(self.layout, (self.m, self.n, self.k))

    @property
    def flop_per_s(self) -> float:
        """2 m n k over the seconds."""
        return 2.0 * self.m * self.n * self.k / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSample:
    """Arithmetic on two tensors, out of place: bytes read and written, seconds with other tensors each time in a small
    step and in a large one, and with the same ones again.
    """

    touched_bytes: float
    seconds: float
    far_s: float
    near_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSample:
    """One causal self-attention, measured; ``n_heads`` counts the batch's."""

    dtype: str
    n_heads: int
    seq: int
    head_dim: int
    forward_s: float
    backward_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSample:
    """One kind of kernel over so many elements, or an optimizer's update of so many parameters, measured; ``is_far``:
    in a large step.
    """

    kind: str
    n_elements: int
    forward_s: float
    backward_s: float
    is_far: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductSample:
    """A convolution or an LSTM layer, measured by pass. ``inner`` and ``outer``: channels that blocks fill up.

    ``moved_bytes``: of input and result; ``weight_bytes``: of an LSTM, once for each time step.
    """

    kind: str
    dtype: str
    inner: int
    outer: int
    flop: float
    moved_bytes: float
    weight_bytes: float
    forward_s: float = 0.0
    input_gradient_s: float = 0.0
    weight_gradient_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchSample:
    """Seconds per kernel, forward (recorded by autograd) and backward, and of one kernel without autograd; and what an
    optimizer's step takes beside moving numbers, alone and with the gradients' norm.
    """

    forward_s: float
    backward_s: float
    bare_s: float
    update: UpdateCalls
    clipped_update: UpdateCalls


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSample:
    """One collective of ``message_bytes`` (as cost/network.py counts them): its mean between pieces of work, as a step
    has it, and the least.
    """

    kind: str
    n_ranks: int
    message_bytes: float
    least_s: float
    mean_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSample:
    """Seconds that one dependent read waits in a working set, and bytes per second of reading through it in order."""

    working_set_bytes: float
    latency_s: float
    bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What one process measured. ``exp_per_s``: elements of an exponential kernel per second; ``resident_bytes``:
    what the process holds after training a tiny model.
    """

    matmuls: tuple[MatmulSample, ...]
    streams: tuple[StreamSample, ...]
    exp_per_s: float
    attention: tuple[AttentionSample, ...]
    dispatch: DispatchSample
    kernels: tuple[KernelSample, ...]
    products: tuple[ProductSample, ...]
    links: tuple[LinkSample, ...]
    caches: tuple[CacheSample, ...]
    exercises: Mapping[str, Mapping[str, float]]
    spread: float
    disturbed_share: float
    resident_bytes: float
    memory_bytes: float
    device_name: str
    wall_s: float
