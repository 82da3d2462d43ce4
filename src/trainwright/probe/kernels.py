"""Kernels that do more for an element than move it: elements per second by kind and size, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional

from trainwright.probe.clock import Clock
from trainwright.probe.pool import Pool
from trainwright.probe.samples import KernelSample

CPU_ELEMENTS = (2**14, 2**18, 2**22)
GPU_ELEMENTS = (2**18, 2**22, 2**26)
WIDTH = 256
CHANNELS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One kind at one size: an input, and what is done with it. ``parameters`` get gradients too."""

    x: Tensor
    work: Callable[[Tensor], Tensor]
    parameters: tuple[Tensor, ...] = ()
    has_gradient: bool = True


def _rows(n: int, device: str) -> Tensor:
    return torch.randn(n // WIDTH, WIDTH, device=device)


def _planes(n: int, device: str) -> Tensor:
    """(8, channels, side, side)."""
    side = isqrt(n // (8 * CHANNELS))
    return torch.randn(8, CHANNELS, side, side, device=device)


def _scale(n: int, device: str) -> tuple[Tensor, Tensor]:
    return torch.ones(n, device=device, requires_grad=True), torch.zeros(n, device=device, requires_grad=True)


def _plain(work: Callable[[Tensor], Tensor], *, has_gradient: bool = True) -> Callable[[int, str], Trial]:
    return lambda n, device: Trial(x=_rows(n, device), work=work, has_gradient=has_gradient)


def _positive(work: Callable[[Tensor], Tensor]) -> Callable[[int, str], Trial]:
    return lambda n, device: Trial(x=_rows(n, device).abs_().add_(0.1), work=work)


def _pooled(work: Callable[[Tensor], Tensor]) -> Callable[[int, str], Trial]:
    return lambda n, device: Trial(x=_planes(n, device), work=work)


def _upsampled(mode: str) -> Callable[[int, str], Trial]:
    """``n`` counts what comes out, four times what goes in."""
    return lambda n, device: Trial(
        x=_planes(n // 4, device), work=lambda x: functional.interpolate(x, scale_factor=2, mode=mode)
    )


def _batch_norm(n: int, device: str) -> Trial:
    weight, bias = _scale(CHANNELS, device)
    mean, variance = torch.zeros(CHANNELS, device=device), torch.ones(CHANNELS, device=device)
    return Trial(
        x=_planes(n, device),
        work=lambda x: functional.batch_norm(x, mean, variance, weight, bias, training=True),
        parameters=(weight, bias),
    )


def _group_norm(n: int, device: str) -> Trial:
    weight, bias = _scale(CHANNELS, device)
    return Trial(
        x=_planes(n, device), work=lambda x: functional.group_norm(x, 8, weight, bias), parameters=(weight, bias)
    )


def _layer_norm(n: int, device: str) -> Trial:
    weight, bias = _scale(WIDTH, device)
    return Trial(
        x=_rows(n, device),
        work=lambda x: functional.layer_norm(x, (WIDTH,), weight, bias),
        parameters=(weight, bias),
    )


def _cross_entropy(n: int, device: str) -> Trial:
    """Over 16 times the usual width."""
    rows = n // (16 * WIDTH)
    labels = torch.randint(16 * WIDTH, (rows,), device=device)
    x = torch.randn(rows, 16 * WIDTH, device=device)
    return Trial(x=x, work=lambda logits: functional.cross_entropy(logits, labels))


def _picked(n: int, device: str) -> tuple[Tensor, Tensor]:
    """As many rows as a table of the same size has, and an index of each element."""
    rows = torch.randint(n // WIDTH, (n // WIDTH,), device=device)
    return rows, rows[:, None].expand(-1, WIDTH)


def _embedding(n: int, device: str) -> Trial:
    rows, _ = _picked(n, device)
    return Trial(x=_rows(n, device), work=lambda table: functional.embedding(rows, table))


def _index(n: int, device: str) -> Trial:
    rows, _ = _picked(n, device)
    return Trial(x=_rows(n, device), work=lambda table: table[rows])


def _index_select(n: int, device: str) -> Trial:
    rows, _ = _picked(n, device)
    return Trial(x=_rows(n, device), work=lambda table: table.index_select(0, rows))


def _gather(n: int, device: str) -> Trial:
    _, places = _picked(n, device)
    return Trial(x=_rows(n, device), work=lambda table: table.gather(0, places))


def _index_add(n: int, device: str) -> Trial:
    rows, _ = _picked(n, device)
    into = torch.zeros(n // WIDTH, WIDTH, device=device)
    return Trial(x=_rows(n, device), work=lambda source: into.index_add(0, rows, source))


def _scatter_add(n: int, device: str) -> Trial:
    _, places = _picked(n, device)
    into = torch.zeros(n // WIDTH, WIDTH, device=device)
    return Trial(x=_rows(n, device), work=lambda source: into.scatter_add(0, places, source))


TRIALS: dict[str, Callable[[int, str], Trial]] = {
    "dropout": _plain(lambda x: torch.empty_like(x).bernoulli_(0.9), has_gradient=False),
    "normal": _plain(torch.randn_like, has_gradient=False),
    "exp": _plain(torch.exp),
    "tanh": _plain(torch.tanh),
    "sigmoid": _plain(torch.sigmoid),
    "silu": _plain(functional.silu),
    "gelu": _plain(functional.gelu),
    "pow": _plain(lambda x: x.pow(3.0)),
    "sqrt": _positive(torch.rsqrt),
    "log": _positive(torch.log),
    "sin": _plain(torch.sin),
    "softplus": _plain(functional.softplus),
    "softmax": _plain(lambda x: x.softmax(-1)),
    "safe_softmax": _plain(lambda x: torch._safe_softmax(x, -1)),
    "cumsum": _plain(lambda x: x.cumsum(-1)),
    "sort": _plain(lambda x: x.sort(-1)[0]),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "cross_entropy": _cross_entropy,
    "max_pool": _pooled(lambda x: functional.max_pool2d(x, 2)),
    "avg_pool": _pooled(lambda x: functional.avg_pool2d(x, 2)),
    "upsample": _upsampled("nearest"),
    "upsample_linear": _upsampled("bilinear"),
    "embedding": _embedding,
    "index": _index,
    "index_select": _index_select,
    "gather": _gather,
    "index_add": _index_add,
    "scatter_add": _scatter_add,
}
"""By kind (``KERNELS`` of models/spec.py): what to measure over so many elements."""


def measure_kernels(clock: Clock, device: str) -> list[KernelSample]:
    """Every kind at every size, the optimizers, and (of kind "") what a call on nearly nothing takes."""
    sizes = CPU_ELEMENTS if device == "cpu" else GPU_ELEMENTS
    found = [_measure(clock, kind, TRIALS[kind](n, device), n) for kind in TRIALS for n in sizes]
    nothing = Trial(x=torch.ones(8, device=device), work=torch.exp)
    return [
        _measure(clock, "", nothing, 8),
        *found,
        *(_update(clock, kind, n, device) for kind in OPTIMIZERS for n in sizes),
    ]


def _measure(clock: Clock, kind: str, trial: Trial, n: int) -> KernelSample:
    x = trial.x

    def both(operand: Tensor) -> Tensor:
        leaf = operand.requires_grad_()
        (gradient, *_) = torch.autograd.grad(trial.work(leaf), (leaf, *trial.parameters), incoming)
        return gradient

    with torch.no_grad():
        incoming = torch.ones_like(trial.work(x))
        forward_s = clock.time(Pool.of(trial.work, x, incoming.nbytes)).calm_s
    if not trial.has_gradient:
        return KernelSample(kind=kind, n_elements=n, forward_s=forward_s, backward_s=0.0)
    both_s = clock.time(Pool.of(both, x, x.nbytes)).calm_s
    return KernelSample(kind=kind, n_elements=n, forward_s=forward_s, backward_s=max(both_s - forward_s, 0.1 * both_s))


OPTIMIZERS: dict[str, Callable[[Iterable[Tensor]], torch.optim.Optimizer]] = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, fused=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, fused=True),
}


def _parameters(n_tensors: int, n: int, device: str) -> list[Tensor]:
    parameters = [torch.zeros(n, device=device, requires_grad=True) for _ in range(n_tensors)]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    return parameters


def _update(clock: Clock, kind: str, n: int, device: str) -> KernelSample:
    """One update of ``n`` parameters, each time of others, as a step has them."""
    updates = [OPTIMIZERS[kind](_parameters(1, n, device)) for _ in range(max(1, min(8, 2**24 // n)))]
    turn = iter(range(10**9))
    timing = clock.time(lambda: updates[next(turn) % len(updates)].step())
    return KernelSample(kind=kind, n_elements=n, forward_s=timing.calm_s, backward_s=0.0)


def measure_tensor_s(clock: Clock, device: str) -> float:
    """Seconds that the optimizer takes for each further parameter tensor, from 64 tiny ones and one."""
    many, one = (OPTIMIZERS["adamw"](_parameters(count, 8, device)) for count in (64, 1))
    return max(clock.time(many.step).calm_s - clock.time(one.step).calm_s, 0.0) / 63.0
