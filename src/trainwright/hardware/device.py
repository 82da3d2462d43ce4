"""One accelerator or CPU, as its datasheet or a probe describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from trainwright.units import Number

DTYPES = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int8", "int4")
"""Every number format that a peak rate may be given for."""

DTYPE_BYTES: Mapping[str, float] = {
    "fp64": 8.0, "fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "fp4": 0.5, "int8": 1.0, "int4": 0.5,
}  # fmt: skip
"""Bytes of one number in memory, by format (tf32 is stored as fp32)."""

DeviceKind = Literal["gpu", "tpu", "npu", "cpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """A share of a peak that grows with size and levels off: best * x / (x + half).

    >>> Saturation(best=0.9, half=1e6).share(1e6)
    0.45
    """

    best: float
    half: float

    def share(self, size: Number) -> Number:
        """The share reached at this size; works on arrays too."""
        return self.best * size / (size + self.half)


TILES: Mapping[str, tuple[tuple[int, int], ...]] = {
    "none": ((1, 1),),
    "vector": ((128, 128), (128, 64), (64, 128), (64, 64), (128, 32), (32, 128), (32, 32)),
    "tensor": ((256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64), (64, 32), (32, 64), (32, 32)),
}
"""Tiles of the output that one unit computes, rows by columns, as cuBLAS and CUTLASS kernels are named: of plain
cores ("vector"), of matrix units ("tensor"), or no tiles at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatmulCurve:
    """What share of the peak a product (m, k) x (k, n) reaches; cost/matmul.py evaluates it.

    The output is cut into tiles, of the ``tiles`` that which is fastest (``batched_tile`` squared where a library uses
    one tile for all batched products), and units work through them in waves. ``best``: share of the peak inside a
    large tile; a tile of a x b reaches a b/(a + b) / (a b/(a + b) + half_side) of it, since smaller ones load more for
    each FLOP; ``half_k``: length of k that filling and draining a tile costs; ``wave``: how much of the last wave's
    idle units counts (0: work flows on, 1: all wait); ``n_units``, where the device does not say. ``traffic``: bytes
    moved over those of each operand once. ``half_m`` and ``half_n`` saturate in rows and columns (CPUs).
    """

    best: float
    half_m: float = 0.0
    half_n: float = 0.0
    half_k: float = 0.0
    half_side: float = 0.0
    wave: float = 1.0
    traffic: float = 1.0
    tiles: Literal["none", "vector", "tensor"] = "none"
    batched_tile: int | None = None
    n_units: int = 1
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCurve:
    """What a fused attention kernel was measured to reach, with the FLOP counted that it really does.

    seconds = heads * (FLOP of one + head_flop) / best * (1 + half_dim / head_dim)

    ``head_flop`` is what starting a head costs (8 MFLOP for a backward in bf16 on a Zen 4 core). A causal kernel skips
    the masked half in blocks of ``key_block`` keys: it does (keys + key_block) / (2 keys) of the pairs, at most all.
    """

    forward_flop_per_s: float
    backward_flop_per_s: float
    forward_head_flop: float = 0.0
    forward_half_dim: float = 0.0
    backward_head_flop: float = 0.0
    backward_half_dim: float = 0.0
    key_block: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RowKernel:
    """A GPU's kernel that goes over each row more than once; cost/rows.py evaluates it.

    ``half``: the share of the last-level cache that rows in flight fill when half of what is read again comes from
    memory; ``row_s``: seconds that a row keeps one unit beyond moving it.
    """

    half: float
    row_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRate:
    """Elements per second of one kind of kernel by how many it works on, memory included, forward and backward.

    Kinds are those of ``Op.kernel`` (models/spec.py): softmax, norms, dropout, gathers and others that do more for an
    element than move it.
    """

    elements: tuple[float, ...]
    forward_per_s: tuple[float, ...]
    backward_per_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRate:
    """One pass of a kind of product: seconds = call_s + FLOP / flop_per_s + bytes / bytes_per_s + weights' / theirs.

    Bytes are those of input and result; the weight's count apart, since its gradient is often summed from copies.
    """

    call_s: float
    flop_per_s: float
    bytes_per_s: float
    weight_bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductCurve:
    """A kind of product that is not a plain matrix product (a convolution, an LSTM layer), by its three passes.

    ``channel_block``: channels are filled up to whole blocks, as oneDNN does.
    """

    forward: PassRate
    input_gradient: PassRate
    weight_gradient: PassRate
    channel_block: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCalls:
    """Seconds of an optimizer's step however little it updates, and of each parameter tensor; and in a large step,
    which leaves neither their code nor their objects in a cache.
    """

    call_s: float = 0.0
    tensor_s: float = 0.0
    far_call_s: float = 0.0
    far_tensor_s: float = 0.0


FOOTPRINTS = (2.0**23, 2.0**28)
"""Bytes of the small and the large step that a probe measures streams in. Beyond the larger one nothing gets slower:
on two cores of a Xeon 6, sums of two tensors of 3 MiB ran at 54, 40, 31 and 31 GB/s in 8, 64, 256 and 1,024 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """What shares of its datasheet a device really reaches, by kind of work.

    ``matmul``: by dtype. ``attention``: share of the matmul peak in a fused attention kernel, over FLOP,
    forward and backward. ``stream``: share of the memory bandwidth, over bytes touched; ``reduction``: what of it
    kernels reach that reduce rows first (norms, softmax).
    ``transcendental_per_s``: exp, tanh, erf and the like, elements per second (None: free behind memory).
    ``rows``: kernels that go over rows more than once ("layer_norm", "softmax").
    ``stream_points``: (bytes touched, bytes per second) as measured in a step that goes over little (FOOTPRINTS) before
    it comes back; goes before ``stream``. ``far_points``: the same where it goes over much; ``near_points``: over what
    was touched just before, as in a loop over time.
    ``attention_curves``: by dtype, as measured; goes before ``attention_forward`` and ``attention_backward``.
    ``kernels`` and ``products``: by kind of kernel (products by dtype too), as measured; go before all of the above.
    ``far_kernels``: of some kinds also in a step that goes over much.
    ``update`` and ``clipped_update``: what an optimizer's step takes beside moving numbers, alone and with the norm of
    all gradients.
    """

    matmul: Mapping[str, MatmulCurve]
    attention_forward: Saturation
    attention_backward: Saturation
    stream: Saturation
    reduction: float = 1.0
    transcendental_per_s: float | None = None
    rows: Mapping[str, RowKernel] = field(default_factory=dict)
    stream_points: tuple[tuple[float, float], ...] = ()
    far_points: tuple[tuple[float, float], ...] = ()
    near_points: tuple[tuple[float, float], ...] = ()
    attention_curves: Mapping[str, AttentionCurve] = field(default_factory=dict)
    kernels: Mapping[str, KernelRate] = field(default_factory=dict)
    far_kernels: Mapping[str, KernelRate] = field(default_factory=dict)
    products: Mapping[str, Mapping[str, ProductCurve]] = field(default_factory=dict)
    update: UpdateCalls = UpdateCalls()
    clipped_update: UpdateCalls = UpdateCalls()
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device: a GPU, a TPU chip, or the share of a CPU that one process gets.

    ``flop_per_s`` is the dense peak by dtype (see DTYPES), accumulating as PyTorch does (fp16 and bf16
    in fp32); a dtype that is absent is not supported. ``launch_s`` is the least time one kernel takes. ``spread``: how
    far repeated measurements of a probe lay from their median; ``learned``: by what runs on it took longer than
    predicted, by part of the step (compute, optimizer, communication).
    """

    name: str
    vendor: str
    architecture: str
    kind: DeviceKind
    memory_bytes: float
    memory_bytes_per_s: float
    flop_per_s: Mapping[str, float]
    efficiency: Efficiency
    source: str
    year: int | None = None
    form_factor: str | None = None
    n_units: int | None = None
    n_cores: int | None = None
    n_threads: int = 1
    boost_clock_hz: float | None = None
    cache_bytes: float | None = None
    power_w: float | None = None
    link: str | None = None
    host_link: str | None = None
    launch_s: float = 0.0
    notes: str = ""
    spread: float = 0.0
    learned: Mapping[str, float] = field(default_factory=dict)
    vector_flop_per_s: Mapping[str, float] = field(default_factory=dict)
