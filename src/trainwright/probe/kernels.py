"""Kernels that do more for an element than move it: elements per second by kind and size, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainwright.hardware.device import UpdateCalls
from trainwright.probe.clock import Clock
from trainwright.probe.pool import Arena, Pool
from trainwright.probe.samples import KernelSample

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


def _pooled(work: Callable[[Tensor], Tensor]) -> Callable[[int, str], Trial]:
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
    "cast": _plain(lambda x: x.to(torch.bfloat16)),
    "half": _half(lambda x, y: x * y.detach(), n_inputs=2),
    "half_silu": _half(functional.silu),
    "half_gelu": _half(functional.gelu),
    "half_gated_silu": _half(_gated(functional.silu), n_inputs=2),
    "half_gated_gelu": _half(_gated(functional.gelu), n_inputs=2),
}
"""By kind: what to measure over so many elements. Beside the KERNELS of models/spec.py what autocast brings: copies
from 32 bits to 16 ("cast"; backward the reverse), a product of two tensors in 16 bits ("half"), functions in them."""


OF_AUTOCAST = tuple(kind for kind in TRIALS if kind == "cast" or kind.startswith("half"))
"""Those that no op of a model asks for by name."""


def measure_kernels(clock: Clock, arena: Arena, *, with_large: bool = True) -> list[KernelSample]:
    """Every kind at every size (or all but the largest), the optimizers, and (of kind "") what a call on nearly nothing
    takes.
    """
    known = CPU_ELEMENTS if arena.device == "cpu" else GPU_ELEMENTS
    sizes = known if with_large else known[:-1]
    found = [sample for n in sizes for sample in _of_size(clock, arena, n)]
    nothing = _works(Trial(shape=(8,), work=torch.exp), arena)
    forward_s, both_s = (clock.time(work).calm_s for work in nothing)
    return [
        KernelSample(kind="", n_elements=8, forward_s=forward_s, backward_s=both_s - forward_s),
        *found,
        *(_update(clock, kind, n, arena.device) for kind in OPTIMIZERS for n in sizes),
    ]


def _of_size(clock: Clock, arena: Arena, n: int) -> list[KernelSample]:
    """Every kind over so many elements, in turn."""
    trials = {kind: make(n, arena.device) for kind, make in TRIALS.items()}
    works = {kind: _works(trial, arena) for kind, trial in trials.items()}
    timings = iter(clock.in_turn([work for pair in works.values() for work in pair]))
    found = []
    for kind, pair in works.items():
        forward_s, both_s = (next(timings).calm_s if len(pair) > i else 0.0 for i in range(2))
        backward_s = max(both_s - forward_s, 0.1 * both_s)
        found.append(KernelSample(kind=kind, n_elements=n, forward_s=forward_s, backward_s=backward_s))
    return found


def _works(trial: Trial, arena: Arena) -> tuple[Pool, ...]:
    """Forward, and with backward where there is one."""
    operands = [(trial.shape, trial.dtype)] * trial.n_inputs
    with torch.no_grad():
        incoming = torch.ones_like(trial.work(*(arena.cut(*operand) for operand in operands)))

    def both(*inputs: Tensor) -> Tensor:
        leaves = [each.detach().requires_grad_() for each in inputs]
        out = trial.work(*leaves)
        (gradient, *_) = torch.autograd.grad(out, (*leaves, *trial.parameters), incoming, allow_unused=True)
        return gradient

    forward = arena.pool(torch.no_grad()(trial.work), *operands)
    return (forward, arena.pool(both, *operands)) if trial.has_gradient else (forward,)


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
    """One update of ``n`` parameters, each time of others, as a step has them; less one of nearly none."""
    updates = [OPTIMIZERS[kind](_parameters(1, n, device)) for _ in range(max(1, min(8, 2**24 // n)))]
    for update in updates:
        update.step()  # makes its states
    turn = iter(range(10**9))
    whole_s = clock.time(lambda: updates[next(turn) % len(updates)].step()).calm_s
    call_s = clock.time(OPTIMIZERS[kind](_parameters(1, 8, device)).step).calm_s
    return KernelSample(kind=kind, n_elements=n, forward_s=max(whole_s - call_s, 0.2 * whole_s), backward_s=0.0)


def measure_updates(clock: Clock, device: str, *, with_norm: bool) -> UpdateCalls:
    """What an optimizer's step of 64 tiny tensors takes, and of one, after work that leaves nothing of it in caches."""
    cold = torch.rand(COLD_BYTES // 4, device=device)

    def seconds(n_tensors: int) -> float:
        parameters = _parameters(n_tensors, 8, device)
        step = OPTIMIZERS["adamw"](parameters).step
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]

        def update() -> None:
            if with_norm:
                float(torch.nn.utils.get_total_norm(gradients))
            step()

        return clock.after(lambda: torch.mul(cold, cold), update)

    one, many = seconds(1), seconds(64)
    tensor_s = max(many - one, 0.0) / 63.0
    return UpdateCalls(call_s=max(one - tensor_s, 0.0), tensor_s=tensor_s)


COLD_BYTES = 2**23
"""Work over so much, read and written, comes before an update: caches hold little else afterwards."""
