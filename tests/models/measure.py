"""What a real model does in one forward and backward: parameters, FLOP, kernels launched, bytes saved.

FLOP and saved bytes by torch's own counters and hooks on real CPU runs; a kernel is an op that reaches the dispatcher
and makes or changes data (views, allocations and scalar reads are none).
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

NOT_KERNELS = ("empty", "detach", "_unsafe_view", "alias", "lift_fresh", "_local_scalar_dense", "new_empty", "sym_size")
FLASH_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FLASH_CPU_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def is_kernel(func: Any) -> bool:
    """Does this op make or change data?"""
    name = func._schema.name.split("::")[1]
    if name.startswith(NOT_KERNELS):
        return False
    returns = func._schema.returns
    is_view = bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)
    return not is_view and bool(returns)


class Counting(TorchDispatchMode):
    """Counts kernels by name, under the label of the moment."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.label: Callable[[], str] = lambda: "all"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if is_kernel(func):
            self.counts[self.label()][str(func)] += 1
        return func(*args, **(kwargs or {}))


@dataclass
class Keeping:
    """Storages saved for backward, each once, parameters left out; by the label that saved them first."""

    parameters: set[int]
    held: list[torch.Tensor] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    entries: list[tuple[str, tuple[int, ...], torch.dtype, int]] = field(default_factory=list)
    label: Callable[[], str] = lambda: "all"

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        """Note the tensor's storage if it is new."""
        key = tensor.untyped_storage()._cdata
        if key not in self.seen and key not in self.parameters:
            self.seen.add(key)
            self.entries.append((self.label(), tuple(tensor.shape), tensor.dtype, tensor.untyped_storage().nbytes()))
        self.held.append(tensor)
        return tensor

    @property
    def n_bytes(self) -> int:
        """All of it."""
        return sum(entry[3] for entry in self.entries)


def _flash_forward(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _flash_backward(grad: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return int(sdpa_backward_flop_count(grad, query, key, value))


def flop_counter() -> FlopCounterMode:
    """torch's counter, with the formulas it lacks for CPU flash attention and grouped products."""
    return FlopCounterMode(
        display=False,
        custom_mapping={
            FLASH_CPU: _flash_forward,
            FLASH_CPU_BACKWARD: _flash_backward,
            torch.ops.aten._grouped_mm: _grouped,
        },
    )


def _grouped(a: Any, b: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    if len(a) == 2 and len(b) == 3:
        return int(2 * a[0] * a[1] * b[2])
    return int(2 * a[0] * a[1] * b[1])  # (m, tokens) x (tokens, n): gradient of the weights


@contextmanager
def labels(model: torch.nn.Module) -> Iterator[list[str]]:
    """The name of the module whose forward runs now, as the last entry of the list."""
    names = {module: name for name, module in model.named_modules()}
    stack = [""]
    before = [
        m.register_forward_pre_hook(lambda module, _: stack.append(names[module])) for m in model.modules()
    ]  # fmt: skip
    after = [m.register_forward_hook(lambda *_: stack.__delitem__(-1)) for m in model.modules()]
    try:
        yield stack
    finally:
        for hook in (*before, *after):
            hook.remove()


@dataclass(frozen=True)
class Measured:
    """One forward and backward."""

    forward_flop: int
    backward_flop: int
    saved_bytes: int
    forward_kernels: int
    backward_kernels: int
    saved: list[tuple[str, tuple[int, ...], torch.dtype, int]]
    kernels: dict[str, collections.Counter[str]]


def measure(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Measured:
    """Run the model once, forward and backward, and count."""
    keeping = Keeping(parameters={p.untyped_storage()._cdata for p in model.parameters()})
    with labels(model) as stack:
        forward, counting = flop_counter(), Counting()
        counting.label = keeping.label = lambda: stack[-1]
        with torch.autograd.graph.saved_tensors_hooks(keeping.pack, lambda t: t), forward, counting:
            loss = model(**inputs).loss
    backward, counting_backward = flop_counter(), Counting()
    with backward, counting_backward:
        loss.backward()
    return Measured(
        forward_flop=forward.get_total_flops(),
        backward_flop=backward.get_total_flops(),
        saved_bytes=keeping.n_bytes,
        forward_kernels=sum(sum(c.values()) for c in counting.counts.values()),
        backward_kernels=sum(sum(c.values()) for c in counting_backward.counts.values()),
        saved=keeping.entries,
        kernels={**counting.counts, "backward": counting_backward.counts["all"]},
    )
