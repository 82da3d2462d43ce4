"""The exact timeline of one training step on meta tensors: every op with its FLOP and bytes, every byte that is alive.

A dispatch mode sees each ATen op, saved-tensor hooks see what autograd keeps, finalizers on storages see when memory
is freed. Nothing is allocated and no kernel runs. Kernels' private scratch, the allocator's rounding and a device's
context are not seen. Why each part is there: docs/capture.md.
"""

from __future__ import annotations

import importlib
import sys
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainwright.capture.flop import flop_of, tensors_in
from trainwright.capture.guess import Guess, Guesser, like_inputs, user_line
from trainwright.capture.scratch import LOSSES, lstm_workspace_bytes, scratch_bytes
from trainwright.capture.standin import SHAPES, Kernels, StandIns
from trainwright.capture.traffic import detail, has_channels_last, traffic

Phase = Literal["forward", "backward", "optimizer"]


@dataclass(slots=True, kw_only=True)
class OpRecord:
    """One op as it was dispatched. ``owner``: the forward op whose gradient a backward op computes.

    ``shapes`` are those of the input tensors, ``n_elements`` the size of the largest tensor it touches;
    ``is_view`` ops launch nothing. ``live_bytes`` is what is allocated once it is done.
    """

    index: int
    phase: Phase
    module: str
    name: str
    flop: float
    read_bytes: int
    written_bytes: int
    n_elements: int
    shapes: tuple[tuple[int, ...], ...]
    out_shape: tuple[int, ...]
    live_bytes: int
    is_view: bool
    owner: int | None
    detail: tuple[Any, ...] = ()
    parameters: tuple[str, ...] = ()
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


@dataclass(slots=True, kw_only=True)
class StorageRecord:
    """A piece of memory: allocated by op ``born`` (-1: before the step), freed by op ``died`` (None: never)."""

    n_bytes: int
    born: int
    kind: Literal["parameter", "buffer", "input", "step"] = "step"
    died: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRecord:
    """A storage that autograd keeps, counted once: for the first op that asked for it, ``ops`` being all that did."""

    storage: int
    n_bytes: int
    dtype: torch.dtype
    op: int
    ops: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """An op that cannot be captured: where user code called it, and why."""

    op: str
    line: str
    reason: str
    touched_bytes: int


@dataclass(slots=True, kw_only=True)
class Trace:
    """What one step did. ``state_bytes``: parameters, buffers, inputs and whatever else was there before."""

    ops: list[OpRecord] = field(default_factory=list)
    storages: list[StorageRecord] = field(default_factory=list)
    saved: list[SavedRecord] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    guesses: tuple[Guess, ...] = ()
    state_bytes: int = 0
    peak_bytes: int = 0
    peak_op: int = -1

    def flop(self, phase: Phase) -> float:
        """FLOP of one phase."""
        return sum(op.flop for op in self.ops if op.phase == phase)

    @property
    def saved_bytes(self) -> int:
        """Bytes kept from forward to backward, each storage once, parameters and buffers not counted."""
        return sum(record.n_bytes for record in self.saved)

    @property
    def collectives(self) -> list[OpRecord]:
        """Communication, in order."""
        return [op for op in self.ops if op.name.startswith(("c10d.", "_c10d_functional."))]

    @property
    def unknown_share(self) -> float:
        """Share of the bytes touched by ops that nobody could look into, standing for their share of the work."""
        touched = sum(op.read_bytes + op.written_bytes for op in self.ops)
        return sum(u.touched_bytes for u in self.unknown) / touched if touched else 0.0


_NOTHING_DONE = frozenset(
    {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted", "_local_scalar_dense"}
)
_CHECK = "_device_dtype_check_for_fused"


class TooManyOpsError(Exception):
    """A step of more ops than were to be recorded: a loop in Python over a long sequence."""


class Recorder(TorchDispatchMode):
    """Writes down every op below autograd, up to ``most_ops``."""

    def __init__(self, module: nn.Module, kernels: Kernels) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels = kernels
        self.most_ops = sys.maxsize
        self.trace = Trace()
        self.phase: Phase = "forward"
        self.modules: list[str] = [""]
        self.guesser = Guesser()
        self.names = {id(child): name for name, child in module.named_modules()}
        self.live = 0
        self._ids: dict[int, int] = {}
        self._owners: dict[int, int] = {}
        self._node = -1
        self._pending: list[tuple[int, Tensor]] = []
        self._saved: dict[int, SavedRecord] = {}
        self._parameters: dict[int, str] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here, and torch would import its compiler (a second) to keep it away."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one op on meta and record it."""
        kwargs = kwargs or {}
        name = _short(func)
        if name == "_local_scalar_dense" and args[0].is_meta:
            return self.guesser.scalar(args[0])
        inputs = tensors_in(args) + (tensors_in(list(kwargs.values())) if kwargs else [])
        args = _all_on_meta(args, inputs)
        if len(self.trace.ops) >= self.most_ops:
            raise TooManyOpsError(f"the step has more than {self.most_ops} ops")
        out, known = self._run(func, name, args, kwargs)
        self._record(func, name, (args, inputs, tensors_in(out), out), known)
        return out

    def _run(self, func: Any, name: str, args: Any, kwargs: Any) -> tuple[Any, str | None]:
        selected = self.guesser.select(name, args) if args and isinstance(args[0], Tensor) and args[0].is_meta else None
        if selected is not None:
            return selected, None
        if name in ("index", "index_put", "index_put_", "_unsafe_index") and args[0].is_meta:
            args = (args[0], self.guesser.plain_indices(args[1]), *args[2:])
            if name.startswith("index_put") and args[2].dim() == 1 and len(args[1]) >= 1:
                args = (args[0], args[1], args[2].new_empty(()), *args[3:])
        stand_in = SHAPES.get(name)
        if stand_in is not None and args[0].is_meta:
            return stand_in(*args, **kwargs), None
        if name in LOSSES and self.kernels == "cpu" and args[0].is_meta and func(*args, **kwargs).dim() == 0:
            return args[0].new_empty(args[0].shape).as_strided((), ()), None  # summed in place: all of it stays
        if name == "mkldnn_rnn_layer":
            *results, workspace = func(*args, **kwargs)
            n_bytes = lstm_workspace_bytes(args[0].shape, args[2].shape[1])
            return (*results, workspace.new_empty((n_bytes,), dtype=torch.uint8)), None
        try:
            out = func(*args, **kwargs)
            return _channels_last(name, args, out), None
        except (NotImplementedError, RuntimeError) as error:
            no_kernel = isinstance(error, NotImplementedError) or "no fake impl" in str(error)
            if not no_kernel or not tensors_in(args):
                raise
            return like_inputs(func, args), str(error).split("\n")[0]

    def _record(self, func: Any, name: str, values: tuple[Any, ...], unknown: str | None) -> None:
        args, inputs, outputs, out = values
        index = len(self.trace.ops)
        mutable = func._schema.is_mutable
        in_ids, out_ids = [self._id(t) for t in inputs], [self._id(t) for t in outputs]
        is_view = not mutable and bool(outputs) and all(i in in_ids for i in out_ids)
        read, written = (0, 0) if is_view or name in _NOTHING_DONE else traffic(name, inputs, outputs)
        node = torch._C._current_autograd_node()
        self._node = torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]
        if self.phase == "forward":
            self._owners.setdefault(self._node - 1, index)
        owner = self._owners.get(node._sequence_nr()) if node is not None else None
        self.trace.ops.append(
            OpRecord(
                index=index,
                phase=self.phase,
                module=self.modules[-1],
                name=name,
                flop=flop_of(name, args, out),
                read_bytes=read,
                written_bytes=written,
                n_elements=max((t.numel() for t in (*inputs, *outputs)), default=0),
                shapes=tuple(tuple(t.shape) for t in inputs),
                out_shape=tuple(outputs[0].shape) if outputs else (),
                live_bytes=self.live,
                is_view=is_view or name in _NOTHING_DONE,
                owner=owner,
                detail=detail(name, args),
                parameters=tuple(dict.fromkeys(self._parameters[i] for i in in_ids if i in self._parameters)),
                inputs=tuple(in_ids),
                outputs=tuple(out_ids),
            )
        )
        if unknown is not None:
            self.trace.unknown.append(
                Unknown(op=str(func), line=user_line(), reason=unknown, touched_bytes=read + written)
            )
        scratch = scratch_bytes(name, args, written) if self.kernels == "cpu" else 0
        if self.live + scratch > self.trace.peak_bytes:
            self.trace.peak_bytes, self.trace.peak_op = self.live + scratch, index
        self._settle(index)

    def away(self, tensor: Tensor, how: str) -> None:
        """A tensor's values leave torch, as ones, for code that nobody sees."""
        reason = "its values leave torch (taken as 1), and what is done with them there is not seen"
        found = Unknown(
            op=f"Tensor.{how}",
            line=user_line(),
            reason=reason,
            touched_bytes=2 * tensor.numel() * tensor.element_size(),
        )
        if (found.op, found.line) not in {(known.op, known.line) for known in self.trace.unknown}:
            self.trace.unknown.append(found)

    def know(self, tensor: Tensor, kind: Literal["parameter", "buffer", "input"], name: str = "") -> None:
        """Note memory that is there before the step."""
        storage = self._id(tensor)
        record = self.trace.storages[storage]
        if record.kind == "step":
            record.kind, record.born = kind, -1
        if kind == "parameter":
            self._parameters.setdefault(storage, name)

    def save(self, tensor: Tensor) -> Tensor:
        """Autograd keeps this tensor; the op that asks is the next one, or the last where it keeps its own output."""
        self._pending.append((self._id(tensor), tensor))
        if self._node == torch.autograd._get_sequence_nr():  # type: ignore[attr-defined]
            self._settle(len(self.trace.ops) - 1)  # no node was made since the last op: it keeps its own result
            return tensor.data  # with its node it would keep itself alive, were it never differentiated
        return tensor

    def _settle(self, op: int) -> None:
        for storage, tensor in self._pending:
            record = self.trace.storages[storage]
            if record.kind in ("parameter", "buffer") or self.phase != "forward":
                continue
            if storage not in self._saved:
                kept = SavedRecord(storage=storage, n_bytes=record.n_bytes, dtype=tensor.dtype, op=op)
                self._saved[storage] = kept
                self.trace.saved.append(kept)
            self._saved[storage].ops.append(op)
        self._pending.clear()

    def _id(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        key = storage._cdata
        known = self._ids.get(key)
        if known is not None:
            return known
        number = self._ids[key] = len(self.trace.storages)
        record = StorageRecord(n_bytes=storage.nbytes(), born=len(self.trace.ops))
        self.trace.storages.append(record)
        self.live += record.n_bytes
        weakref.finalize(storage, self._freed, key, number).atexit = False
        return number

    def _freed(self, key: int, number: int) -> None:
        self._ids.pop(key, None)
        record = self.trace.storages[number]
        record.died = len(self.trace.ops)
        self.live -= record.n_bytes

    def resized(self, storage: Any, n_bytes: int) -> None:
        """Memory that FSDP2 frees and takes by resizing a storage."""
        number = self._ids.get(storage._cdata)
        if number is not None:
            self.live += n_bytes - self.trace.storages[number].n_bytes
            self.trace.storages[number].n_bytes = n_bytes

    def entered(self, module: nn.Module, args: Any) -> None:
        """A module's forward begins."""
        self.modules.append(self.names.get(id(module), self.modules[-1]))

    def left(self, module: nn.Module, args: Any, out: Any) -> None:
        """A module's forward is done. After an exception the failing module stays on top."""
        self.modules.pop()


def _from_numpy(real: Any) -> Any:
    """What NumPy hands back, on meta like all else."""
    return lambda array: real(array).to("meta")


def _short(func: Any) -> str:
    name: str = func._schema.name
    space, _, bare = name.partition("::")
    return bare if space in ("aten", "trainwright") else f"{space}.{bare}"


def _all_on_meta(args: Any, inputs: list[Tensor]) -> Any:
    if not any(t.is_meta for t in inputs) or all(t.is_meta for t in inputs):
        return args
    return torch.utils._pytree.tree_map_only(Tensor, lambda t: t if t.is_meta else t.to("meta"), args)


def _channels_last(name: str, args: Any, out: Any) -> Any:
    """A convolution of channels-last input gives channels-last output, on CPUs and GPUs; on meta it does not."""
    if name != "convolution" or not has_channels_last(args[0]):
        return out
    return out.new_empty(out.shape).to(memory_format=torch.channels_last)


@contextmanager
def recording(module: nn.Module, kernels: Kernels = "gpu") -> Iterator[Recorder]:
    """Record everything that runs inside; ``recorder.phase`` is the caller's to set."""
    recorder = Recorder(module, kernels)
    for name, parameter in module.named_parameters():
        recorder.know(parameter, "parameter", name)
        if parameter.grad is not None:
            recorder.know(parameter.grad, "input")
    for _, buffer in module.named_buffers():
        recorder.know(buffer, "buffer")
    resize = torch.UntypedStorage.resize_

    def resize_(storage: Any, size: int) -> Any:
        recorder.resized(storage, size)
        return resize(storage, size)

    with ExitStack() as stack:
        torch.UntypedStorage.resize_ = resize_  # type: ignore[method-assign, assignment]
        stack.callback(setattr, torch.UntypedStorage, "resize_", resize)
        for optimizer in (
            importlib.import_module(f"torch.optim.{name}") for name in ("adam", "sgd")
        ):  # fused kernels refuse meta by name, and run on it
            stack.callback(setattr, optimizer, _CHECK, getattr(optimizer, _CHECK))
            setattr(optimizer, _CHECK, lambda *_args, **_kwargs: None)
        hooks = torch.nn.modules.module
        stack.callback(hooks.register_module_forward_pre_hook(recorder.entered).remove)
        stack.callback(hooks.register_module_forward_hook(recorder.left).remove)
        if isinstance(getattr(sys.modules.get("torch._dynamo"), "__file__", None), str):
            stack.enter_context(torch.compiler.set_stance("force_eager"))  # what a module compiles runs as it is
        stack.callback(setattr, torch, "from_numpy", torch.from_numpy)
        torch.from_numpy = _from_numpy(torch.from_numpy)
        stack.enter_context(torch.device("meta"))
        stack.enter_context(StandIns(kernels, recorder.away))
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(recorder.save, lambda tensor: tensor))
        stack.enter_context(recorder)
        yield recorder
    recorder.trace.guesses = recorder.guesser.guesses
