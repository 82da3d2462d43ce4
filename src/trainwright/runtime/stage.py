"""Pipeline stages: a model cut between its blocks, each process keeping some of them under their own names.

Every stage still runs the model's own forward: blocks that lie elsewhere pass their input through, what comes before
the blocks hands over the received activations, and what comes after is skipped but on the last stage. So masks,
positions and rotary tables are made by the model itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import even_stages
from trainwright.runtime.context import positions_of
from trainwright.runtime.model import logits_of
from trainwright.runtime.precision import Precision
from trainwright.runtime.recompute import blocks_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Modules before the blocks (the first gives the blocks' input, the others are added to it) and after them."""

    before: tuple[str, ...]
    after: tuple[str, ...]


ENDS = {
    "gpt2": Ends(
        before=("transformer.wte", "transformer.wpe", "transformer.drop"), after=("transformer.ln_f", "lm_head")
    ),
    "bert": Ends(before=("bert.embeddings",), after=("cls",)),
}
USUAL_ENDS = Ends(before=("model.embed_tokens",), after=("model.norm", "lm_head"))
"""Llama and everything shaped like it."""


@dataclass(slots=True)
class _Running:
    """Which blocks run now, what came in, and what the last of them gave; ``stretch``: (index, size) of cp.

    ``handed_over``: what stages exchange, in its shape and format only.
    """

    blocks: range = range(0)
    received: Tensor | None = None
    given: Tensor | None = None
    handed_over: Tensor | None = None
    stretch: tuple[int, int] = (0, 1)
    precision: Precision = nullcontext


class Received(nn.Module):
    """Stands where the embedding was: the activations that came from the stage before."""

    def __init__(self, running: _Running) -> None:
        super().__init__()
        self._running = running

    def forward(self, *_args: Any, **_kwargs: Any) -> Tensor:
        """What came in."""
        assert self._running.received is not None
        return self._running.received


class Nothing(nn.Module):
    """Stands where position embeddings were: adds nothing."""

    def forward(self, positions: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """A zero."""
        return torch.zeros(1, device=positions.device)


class Through(nn.Module):
    """Stands for what lies on another stage: the input goes through."""

    def forward(self, hidden: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """The input."""
        return hidden


@dataclass(slots=True, kw_only=True)
class Cut:
    """What cutting gave: this process's stages by number, each a range of blocks, and the names of its tied weight.

    ``tied`` is (name here, name in the whole model) where a head shares the embedding of the first stage.
    """

    stages: dict[int, range]
    n_stages: int
    n_blocks: int
    running: _Running = field(default_factory=_Running)
    tied: tuple[str, str] | None = None


class Stage(nn.Module):
    """One stage as torch's pipelining runs it: activations (or ids) in, activations (or logits) out."""

    def __init__(self, model: nn.Module, cut: Cut, number: int) -> None:
        super().__init__()
        self.model = model
        self._cut = cut
        self._number = number

    def forward(self, received: Tensor) -> Tensor:
        """Run this stage's blocks."""
        running = self._cut.running
        running.blocks, running.given = self._cut.stages[self._number], None
        first, last = self._number == 0, self._number == self._cut.n_stages - 1
        running.received = None if first else received
        if not first:
            running.handed_over = received.detach().to("meta")
        ids = received if first else torch.zeros(received.shape[:2], dtype=torch.long, device=received.device)
        with running.precision():
            logits = logits_of(self.model, ids, **positions_of(ids, *running.stretch))
        given, running.received, running.given = running.given, None, None
        if last:
            return logits
        assert given is not None
        running.handed_over = given.detach().to("meta")
        return given


def stage_ranges(n_blocks: int, n_stages: int, sizes: tuple[int, ...] | None) -> list[range]:
    """Which blocks each stage has: the given sizes, or as even as can be.

    >>> stage_ranges(5, 2, None)
    [range(0, 3), range(3, 5)]
    """
    if sizes is None:
        sizes = even_stages(n_blocks, n_stages)
    if len(sizes) != n_stages or sum(sizes) != n_blocks or min(sizes) < 1:
        raise InvalidInputError(
            f"stages of {', '.join(map(str, sizes))} blocks do not make {n_stages} stages of {n_blocks} blocks",
            hint=f"give {n_stages} numbers of at least 1 that add up to {n_blocks}",
        )
    begins = [sum(sizes[:i]) for i in range(n_stages)]
    return [range(begin, begin + size) for begin, size in zip(begins, sizes, strict=True)]


def cut_model(model: nn.Module, numbers: list[int], ranges: list[range]) -> Cut:
    """Keep only the blocks and ends of the stages in ``numbers``, in place."""
    config: Any = getattr(model, "config", None)
    ends = ENDS.get(getattr(config, "model_type", ""), USUAL_ENDS)
    for name in (*ends.before, *ends.after):
        if name not in dict(model.named_modules()):
            raise InvalidInputError(
                f"the pipeline does not know where {type(model).__name__} begins and ends: it has no {name}",
                hint="use pp 1, or add the model to ENDS in runtime/stage.py",
            )
    cut = Cut(stages={n: ranges[n] for n in numbers}, n_stages=len(ranges), n_blocks=ranges[-1].stop)
    blocks = blocks_of(model)
    last_block = len(blocks) - 1
    owner = next(m for m in model.modules() if isinstance(m, nn.ModuleList) and list(m) == blocks)
    mine = {index for n in numbers for index in ranges[n]}
    for index, block in enumerate(blocks):
        if index in mine:
            block.forward = partial(_run_when_due, block.forward, cut.running, index)
        else:
            owner[index] = Through()
    if len(ranges) - 1 in numbers and 0 not in numbers:
        cut.tied = _tied_names(model, ends)
    for i, name in enumerate(ends.before):
        stub = Received(cut.running) if i == 0 else Through() if name.endswith("drop") else Nothing()
        _stand_in(model, name, stub, lambda: cut.running.received is not None, keep=0 in numbers)
    for name in ends.after:
        last = len(ranges) - 1
        _stand_in(model, name, Through(), lambda: last_block not in cut.running.blocks, keep=last in numbers)
    return cut


def _stand_in(model: nn.Module, name: str, stub: nn.Module, when: Callable[[], bool], *, keep: bool) -> None:
    """Put the stub in the module's place, or (where another stage of this process needs it) only while ``when``."""
    if not keep:
        model.set_submodule(name, stub)
        return
    module: Any = model.get_submodule(name)
    module.own_forward = module.forward  # tensor parallelism replaces this one, see tensor.py

    def choose(*args: Any, **kwargs: Any) -> Any:
        return stub(*args, **kwargs) if when() else module.own_forward(*args, **kwargs)

    module.forward = choose


def _run_when_due(inner: Any, running: _Running, index: int, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
    if index not in running.blocks:
        return hidden
    return inner(hidden, *args, **kwargs)


def watch_last_blocks(model: nn.Module, cut: Cut) -> None:
    """Keep what each stage's last block gives; to be called when every other hook is in place."""
    blocks = blocks_of(model)

    def keep_if_last(index: int, _module: nn.Module, _args: Any, out: Tensor) -> None:
        if cut.running.blocks and index == cut.running.blocks[-1]:
            cut.running.given = out

    for index in {blocks_here[-1] for blocks_here in cut.stages.values()}:
        blocks[index].register_forward_hook(partial(keep_if_last, index))


def _tied_names(model: nn.Module, ends: Ends) -> tuple[str, str] | None:
    """(head's name, embedding's name) when one weight is both."""
    whole = dict(model.named_parameters(remove_duplicate=False))
    names = dict(model.named_parameters())
    for name, parameter in whole.items():
        if name not in names and name.startswith(ends.after):
            return name, next(other for other, same in names.items() if same is parameter)
    return None
