"""Kernels that do more for an element than move it: elements per second by kind and size, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainwright.probe.clock import Clock
from trainwright.probe.pool import Arena, Places, Pool
from trainwright.probe.samples import KernelSample
from trainwright.probe.updates import measure_optimizers

CPU_ELEMENTS = (2**14, 2**18, 2**20)
GPU_ELEMENTS = (2**18, 2**22, 2**26)
WIDTH = 256
CHANNELS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One kind at one size: what is done with inputs of this shape. ``parameters`` get gradients too."""

    shape: tuple[int, ...]
    work: Callable[..., Tensor]
    parameters: tuple[Tensor, ...] = ()
    n_inputs: int = 1
    dtype: torch.dtype = torch.float32
    has_gradient: bool = True


def _rows(n: int) -> tuple[int, int]:
    return n // WIDTH, WIDTH


def _planes(n: int) -> tuple[int, int, int, int]:
    """(8, channels, side, side)."""
    side = isqrt(n // (8 * CHANNELS))
    return 8, CHANNELS, side, side


def _scale(n: int, device: str) -> tuple[Tensor, Tensor]:
    return torch.ones(n, device=device, requires_grad=True), torch.zeros(n, device=device, requires_grad=True)


def _plain(work: Callable[..., Tensor], **more: Any) -> Callable[[int, str], Trial]:
    return lambda n, _device: Trial(shape=_rows(n), work=work, **more)


def _half(work: Callable[..., Tensor], **more: Any) -> Callable[[int, str], Trial]:
    return _plain(work, dtype=torch.bfloat16, **more)


def _on_planes(work: Callable[[Tensor], Tensor]) -> Callable[[int, str], Trial]:
    return lambda n, _device: Trial(shape=_planes(n), work=work)


def _upsampled(mode: str) -> Callable[[int, str], Trial]:
    """``n`` counts what comes out, four times what goes in."""
    return lambda n, _device: Trial(
        shape=_planes(n // 4), work=lambda x: functional.interpolate(x, scale_factor=2, mode=mode)
    )


def _batch_norm(n: int, device: str) -> Trial:
    weight, bias = _scale(CHANNELS, device)
    mean, variance = torch.zeros(CHANNELS, device=device), torch.ones(CHANNELS, device=device)
    return Trial(
        shape=_planes(n),
        work=lambda x: functional.batch_norm(x, mean, variance, weight, bias, training=True),
        parameters=(weight, bias),
    )


def _group_norm(n: int, device: str) -> Trial:
    weight, bias = _scale(CHANNELS, device)
    return Trial(shape=_planes(n), work=lambda x: functional.group_norm(x, 8, weight, bias), parameters=(weight, bias))


def _layer_norm(n: int, device: str) -> Trial:
    weight, bias = _scale(WIDTH, device)
    return Trial(
        shape=_rows(n),
        work=lambda x: functional.layer_norm(x, (WIDTH,), weight, bias),
        parameters=(weight, bias),
    )


def _prelu(n: int, device: str) -> Trial:
    """Of numbers of both signs, between which the kernel branches."""
    (slope, _) = _scale(1, device)
    return Trial(shape=_planes(n), work=lambda x: functional.prelu(x - 0.6, slope), parameters=(slope,))


def _binary_cross_entropy(x: Tensor) -> Tensor:
    """Of numbers below 1, as the loss wants them."""
    share = 0.9 * x
    return functional.binary_cross_entropy(share, share.detach())


def _cross_entropy(n: int, device: str) -> Trial:
    """Over 16 times the usual width."""
    rows = n // (16 * WIDTH)
    labels = torch.randint(16 * WIDTH, (rows,), device=device)
    return Trial(shape=(rows, 16 * WIDTH), work=lambda logits: functional.cross_entropy(logits, labels))


def _picked(n: int, device: str) -> tuple[Tensor, Tensor]:
    """As many rows as a table of the same size has, and an index of each element."""
    rows = torch.randint(n // WIDTH, (n // WIDTH,), device=device)
    return rows, rows[:, None].expand(-1, WIDTH)


def _embedding(n: int, device: str) -> Trial:
    rows, _ = _picked(n, device)
    return Trial(shape=_rows(n), work=lambda table: functional.embedding(rows, table))


def _index(n: int, device: str) -> Trial:
    rows, _ = _picked(n, device)
    return Trial(shape=_rows(n), work=lambda table: table[rows])


def _index_select(n: int, device: str) -> Trial:
    rows, _ = _picked(n, device)
    return Trial(shape=_rows(n), work=lambda table: table.index_select(0, rows))


def _gather(n: int, device: str) -> Trial:
    _, places = _picked(n, device)
    return Trial(shape=_rows(n), work=lambda table: table.gather(0, places))


def _index_add(n: int, device: str) -> Trial:
    rows, _ = _picked(n, device)
    into = torch.zeros(n // WIDTH, WIDTH, device=device)
    return Trial(shape=_rows(n), work=lambda source: into.index_add(0, rows, source))


def _scatter_add(n: int, device: str) -> Trial:
    _, places = _picked(n, device)
    into = torch.zeros(n // WIDTH, WIDTH, device=device)
    return Trial(shape=_rows(n), work=lambda source: into.scatter_add(0, places, source))


def _gated(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda gate, x: function(gate) * x


TRIALS: dict[str, Callable[[int, str], Trial]] = {
    "dropout": _plain(lambda x: torch.empty_like(x).bernoulli_(0.9), has_gradient=False),
    "bernoulli": _plain(lambda x: torch.bernoulli(x * 0.5), has_gradient=False),
    "normal": _plain(torch.randn_like, has_gradient=False),
    "exp": _plain(torch.exp),
    "tanh": _plain(torch.tanh),
    "sigmoid": _plain(torch.sigmoid),
    "silu": _plain(functional.silu),
    "gelu": _plain(functional.gelu),
    "pow": _plain(lambda x: x.pow(3.0)),
    "sqrt": _plain(torch.rsqrt),
    "log": _plain(torch.log),
    "sin": _plain(torch.sin),
    "gated_silu": _plain(_gated(functional.silu), n_inputs=2),
    "gated_gelu": _plain(_gated(functional.gelu), n_inputs=2),
    "softplus": _plain(functional.softplus),
    "softmax": _plain(lambda x: x.softmax(-1)),
    "safe_softmax": _plain(lambda x: torch._safe_softmax(x, -1)),
    "cumsum": _plain(lambda x: x.cumsum(-1)),
    "sort": _plain(lambda x: x.sort(-1)[0]),
    "argmax": _plain(lambda x: x.max(-1)[0]),
    "prelu": _prelu,
    "binary_cross_entropy": _plain(_binary_cross_entropy),
    "fft": _on_planes(lambda x: torch.view_as_real(torch.fft.rfft2(x))),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "cross_entropy": _cross_entropy,
    "max_pool": _on_planes(lambda x: functional.max_pool2d(x, 2)),
    "avg_pool": _on_planes(lambda x: functional.avg_pool2d(x, 2)),
    "upsample": _upsampled("nearest"),
    "upsample_linear": _upsampled("bilinear"),
    "embedding": _embedding,
    "index": _index,
    "index_select": _index_select,
    "gather": _gather,
    "index_add": _index_add,
    "scatter_add": _scatter_add,
    "cast": _plain(lambda x: x.to(torch.bfloat16)),
    "half": _half(lambda x, y: x * y.detach(), n_inputs=2),
    "half_silu": _half(functional.silu),
    "half_gelu": _half(functional.gelu),
    "half_gated_silu": _half(_gated(functional.silu), n_inputs=2),
    "half_gated_gelu": _half(_gated(functional.gelu), n_inputs=2),
}
"""By kind: what to measure over so many elements. Beside the KERNELS of models/spec.py what autocast brings: copies
from 32 bits to 16 ("cast"; backward the reverse), a product of two tensors in 16 bits ("half"), functions in them."""


SERIAL = ("dropout", "bernoulli", "normal", "sort", "prelu", "binary_cross_entropy")
"""On a CPU these take as long for an element among a million as among a quarter of one."""
OF_AUTOCAST = tuple(kind for kind in TRIALS if kind == "cast" or kind.startswith("half"))
"""Those that no op of a model asks for by name."""


def measure_kernels(clock: Clock, at: Places, *, with_largest: bool = True) -> list[KernelSample]:
    """Every kind at every size (or all but the largest), the optimizers, and (of kind "") what a call on nearly nothing
    takes; what autocast brings in a large step too.
    """
    device = at.near.device
    known = CPU_ELEMENTS if device == "cpu" else GPU_ELEMENTS
    sizes = known if with_largest else known[:-1]
    brief = tuple(kind for kind in TRIALS if device != "cpu" or kind not in SERIAL)
    found = [s for n in sizes for s in _of_size(clock, at, n, brief if n == known[-1] else tuple(TRIALS))]
    nothing = _works(Trial(shape=(8,), work=torch.exp), at, at.near)
    forward_s, both_s = (clock.time(work).calm_s for work in nothing)
    return [
        KernelSample(kind="", n_elements=8, forward_s=forward_s, backward_s=both_s - forward_s),
        *found,
        *(far for n in sizes[1:] for far in (_in_large_step(clock, at, n, at.large) if at.large else ())),
        *measure_optimizers(clock, device, sizes, with_large_step=at.large is not None),
    ]


def _in_large_step(clock: Clock, at: Places, n: int, large: Arena) -> list[KernelSample]:
    """What autocast brings, where results are written where nothing was touched for long."""
    return [replace(sample, is_far=True) for sample in _of_size(clock, at, n, OF_AUTOCAST, large)]


def _of_size(
    clock: Clock, at: Places, n: int, kinds: Iterable[str], results: Arena | None = None
) -> list[KernelSample]:
    """Every kind over so many elements, in turn; ``results``: where those are kept, else near."""
    trials = {kind: TRIALS[kind](n, at.near.device) for kind in kinds}
    works = {kind: _works(trial, at, results or at.near) for kind, trial in trials.items()}
    timings = iter(clock.in_turn([work for pair in works.values() for work in pair]))
    found = []
    for kind, pair in works.items():
        forward_s, both_s = (next(timings).calm_s if len(pair) > i else 0.0 for i in range(2))
        backward_s = max(both_s - forward_s, 0.1 * both_s)
        found.append(KernelSample(kind=kind, n_elements=n, forward_s=forward_s, backward_s=backward_s))
    return found


def _works(trial: Trial, at: Places, results: Arena) -> tuple[Pool, ...]:
    """Forward, and with backward where there is one, of what was kept since forward."""

    def operands(whence: Arena = at.near) -> tuple[Tensor, ...]:
        return tuple(whence.cut(trial.shape, trial.dtype) for _ in range(trial.n_inputs))

    with torch.no_grad():
        incoming = torch.ones_like(trial.work(*operands()))

    def both(*inputs: Tensor) -> Tensor:
        leaves = [each.detach().requires_grad_() for each in inputs]
        out = trial.work(*leaves)
        (gradient, *_) = torch.autograd.grad(out, (*leaves, *trial.parameters), incoming, allow_unused=True)
        return gradient

    forward = results.pool_of(torch.no_grad()(trial.work), operands)
    return (forward, results.pool_of(both, lambda: operands(at.kept))) if trial.has_gradient else (forward,)
