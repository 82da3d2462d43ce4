"""Which parts of a module repeat: the units that become blocks, and between which a pipeline may cut.

Two children of a ModuleList or Sequential are alike when their classes, plain attributes (an index into the list
left out), parameter shapes and children are. A run of many alike is traced as first, second and last only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

KEPT = 3
"""How many of a long run are traced: the first, the second for all between, the last."""

_INDEX_NAMES = ("layer_idx", "layer_id", "layer_index", "idx", "index", "block_idx", "layer_number", "name", "block_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Children ``first`` to ``first + length`` of the container at ``path``, all alike."""

    path: str
    first: int
    length: int


def signature(module: nn.Module) -> tuple[Any, ...]:
    """What two modules must share to cost the same."""
    plain = tuple(
        (key, value)
        for key, value in sorted(vars(module).items())
        if isinstance(value, int | float | str | bool) and key not in _INDEX_NAMES and not key.startswith("_")
    )
    shapes = tuple((name, tuple(p.shape), p.requires_grad) for name, p in module.named_parameters(recurse=False))
    children = tuple((name, signature(child)) for name, child in module.named_children())
    return type(module), plain, shapes, children


def runs(module: nn.Module) -> tuple[Run, ...]:
    """Every outermost run of two or more alike, in the order of the module tree."""
    return tuple(_runs(module, ""))


def _runs(module: nn.Module, path: str) -> Iterator[Run]:
    children = list(module.named_children())
    grouped: set[str] = set()
    if isinstance(module, nn.ModuleList | nn.Sequential):
        for run in _alike(path, [child for _, child in children]):
            grouped.update(name for name, _ in children[run.first : run.first + run.length])
            yield run
    for name, child in children:
        if name not in grouped:
            yield from _runs(child, f"{path}.{name}" if path else name)


def _alike(path: str, children: Sequence[nn.Module]) -> Iterator[Run]:
    signatures = [signature(child) if any(True for _ in child.parameters()) else None for child in children]
    start = 0
    for i in range(1, len(children) + 1):
        if i < len(children) and signatures[i] == signatures[start]:
            continue
        if i - start >= 2 and signatures[start] is not None:
            yield Run(path=path, first=start, length=i - start)
        start = i


def units(module: nn.Module, found: Sequence[Run]) -> tuple[str, ...]:
    """Paths of the parts that may become blocks: every child of a container that holds a run."""
    paths = dict.fromkeys(run.path for run in found)
    return tuple(
        f"{path}.{name}" if path else name for path in paths for name, _ in module.get_submodule(path).named_children()
    )


@contextmanager
def shortened(module: nn.Module, found: Sequence[Run], n_modules: int = 150) -> Iterator[dict[str, int]]:
    """While inside, long runs of a large module are cut to KEPT; yields how many each unit stands for.

    Small modules are left whole. What is left of a container is counted anew from 0.
    """
    long = [run for run in found if run.length > KEPT] if sum(1 for _ in module.modules()) > n_modules else []
    whole = {path: dict(module.get_submodule(path)._modules) for path in dict.fromkeys(run.path for run in long)}
    stands: dict[str, int] = {}
    for path, children in whole.items():
        kept = _kept(list(children.values()), [run for run in long if run.path == path])
        _fill(module.get_submodule(path), {str(i): child for i, (child, _) in enumerate(kept)})
        stands |= {f"{path}.{i}" if path else str(i): n for i, (_, n) in enumerate(kept) if n > 1}
    try:
        yield stands
    finally:
        for path, children in whole.items():
            _fill(module.get_submodule(path), children)


def _fill(container: nn.Module, children: dict[str, Any]) -> None:
    container._modules.clear()
    container._modules.update(children)


def _kept(children: Sequence[Any], long: Sequence[Run]) -> list[tuple[Any, int]]:
    """What is traced of a container, and how many each stands for: a run's second for all but its first and last."""
    stands = {run.first + 1: run.length - KEPT + 1 for run in long}
    left_out = {i for second, n in stands.items() for i in range(second + 1, second + n)}
    return [(child, stands.get(i, 1)) for i, child in enumerate(children) if i not in left_out]
