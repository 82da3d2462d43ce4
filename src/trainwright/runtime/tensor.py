"""Tensor parallelism: weights divided by columns and rows over a group, activations summed where they meet.

Each process keeps plain local tensors and computes with plain kernels; only the collectives of differentiable.py are
added. Inputs of a set of column-divided weights are entered once, at the module around them, so that backward sums one
gradient and not one a weight. With sequence parallelism the stretches between (norms, residuals, dropout) work on the
process's part of each sequence, and sums become reduce-scatters and gathers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from trainwright.errors import InvalidInputError
from trainwright.runtime.collective import Group
from trainwright.runtime.differentiable import enter_columns, gather_parts, gather_seq, keep_part, scatter_seq, sum_rows
from trainwright.runtime.recompute import blocks_of
from trainwright.runtime.share import Share, even_cut
from trainwright.runtime.stage import Cut
from trainwright.runtime.tensorplan import TensorPlan, tensor_plan

_PACKS = {"colwise": 1, "packed_colwise": 2, "packed_3": 3, "rowwise": 1, "embedding_rowwise": 1}


@dataclass(slots=True, kw_only=True)
class Division:
    """What dividing a model gave: shares by parameter, parameters whose gradients are sums over the group, and where
    this process's part of the vocabulary begins (None: the logits are whole)."""

    shares: dict[str, Share] = field(default_factory=dict)
    partial: list[str] = field(default_factory=list)
    vocabulary_begin: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Around:
    """The group, this process's place in it, and whether sequences are divided between."""

    group: Group
    index: int
    size: int
    sequence: bool
    division: Division

    def enter(self, tensor: Tensor) -> Tensor:
        return gather_seq(tensor, self.group) if self.sequence else enter_columns(tensor, self.group)

    def leave(self, tensor: Tensor) -> Tensor:
        return scatter_seq(tensor, self.group) if self.sequence else sum_rows(tensor, self.group)


def divide(
    model: nn.Module, group: Group, index: int, size: int, *, sequence: bool = False, cut: Cut | None = None
) -> Division:
    """Divide the model in place over the ``size`` processes of ``group``; this one is ``index``.

    With ``sequence``, each stage of a cut model gets whole sequences and gives whole ones.
    """
    plan = tensor_plan(model)
    _refuse_odd_heads(model, size)
    division = Division()
    around = _Around(group=group, index=index, size=size, sequence=sequence, division=division)
    parents: dict[str, nn.Module] = {}
    modules = dict(model.named_modules())
    for name, module in modules.items():
        style = plan.style(name)
        if next(module.parameters(), None) is None:
            continue  # lies on another pipeline stage
        _divide_attributes(plan, name, module, size)
        if style is not None:
            _apply(style, name, module, around)
        parent = name.rpartition(".")[0]
        if style in ("colwise", "packed_colwise", "packed_3"):
            parents[parent] = modules[parent]
        elif style == "moe_tp_experts" and sequence:  # the router too sees whole sequences
            parents[parent] = modules[parent]
            modules[parent].register_forward_hook(partial(_leave_experts, around))
    for parent in parents.values():
        parent.register_forward_pre_hook(partial(_enter_first, around), with_kwargs=True)
    _divide_loose_parameters(model, plan, around)
    if sequence:
        _divide_sequences(model, around, cut)
    return division


def _apply(style: str, name: str, module: nn.Module, around: _Around) -> None:
    if style == "moe_tp_experts":
        if not around.sequence:
            module.register_forward_pre_hook(partial(_enter_experts, around))
            module.register_forward_hook(partial(_leave_experts, around))
    elif style == "replicated_with_grad_allreduce":
        around.division.partial += [f"{name}.{own}" for own, _ in module.named_parameters()]
    elif style == "embedding_rowwise":
        begin = _cut(around, module, f"{name}.weight", 0)
        # a pipeline stage may have put a choice in front of the module's own forward
        place = "own_forward" if hasattr(module, "own_forward") else "forward"
        setattr(module, place, partial(_look_up, module, around, begin))
    elif style == "colwise_gather_output":
        around.division.vocabulary_begin = _cut(around, module, f"{name}.weight", 0)
        if getattr(module, "bias", None) is not None:
            _cut(around, module, f"{name}.bias", 0)
        whole = _Around(
            group=around.group, index=around.index, size=around.size, sequence=False, division=around.division
        )
        module.register_forward_pre_hook(partial(_enter_first, whole), with_kwargs=True)
    elif style == "rowwise":
        _cut(around, module, f"{name}.weight", 0 if _is_transposed(module) else 1)
        module.forward = partial(_multiply_rows, module, around)
    else:
        _cut(around, module, f"{name}.weight", 1 if _is_transposed(module) else 0, _PACKS[style])
        if getattr(module, "bias", None) is not None:
            _cut(around, module, f"{name}.bias", 0, _PACKS[style])


def _divide_loose_parameters(model: nn.Module, plan: TensorPlan, around: _Around) -> None:
    """Parameters that a plan names themselves: matrices of all experts in one tensor, [experts, out, in]."""
    for name, parameter in list(model.named_parameters()):
        style = plan.style(name)
        if style is None or parameter.dim() != 3:
            continue
        owner = model.get_submodule(name.rpartition(".")[0])
        _cut(around, owner, name, 2 if style == "rowwise" else 1, _PACKS[style])


def _cut(around: _Around, module: nn.Module, name: str, dim: int, packs: int = 1) -> int:
    """Keep this process's part of a parameter along ``dim`` (of each of ``packs`` equal packs); returns its begin."""
    parameter: nn.Parameter = getattr(module, name.rpartition(".")[2])
    done = getattr(parameter, "_trainwright_share", None)
    if done is not None:  # tied: cut already, under its other name
        return int(done.spans[0].offset[dim])
    share = even_cut(tuple(parameter.shape), dim, around.index, around.size, packs)
    with torch.no_grad():
        local = torch.cat([parameter[span.whole_slices] for span in share.spans], dim=dim).clone()
    parameter.data = local
    parameter._trainwright_share = share  # type: ignore[attr-defined]
    around.division.shares[name] = share
    return share.spans[0].offset[dim]


def _multiply_rows(module: nn.Module, around: _Around, tensor: Tensor) -> Tensor:
    weight: Any = module.weight
    bias: Any = getattr(module, "bias", None)
    out = tensor @ weight if _is_transposed(module) else functional.linear(tensor, weight)
    out = around.leave(out)
    return out if bias is None else out + bias


def _look_up(module: nn.Module, around: _Around, begin: int, ids: Tensor) -> Tensor:
    weight: Any = module.weight
    local = ids - begin
    outside = (local < 0) | (local >= weight.shape[0])
    found = functional.embedding(local.masked_fill(outside, 0), weight)
    return sum_rows(found.masked_fill(outside[..., None], 0.0), around.group)


def _enter_first(around: _Around, _module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    if args:
        return (around.enter(args[0]), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": around.enter(kwargs["hidden_states"])}


def _enter_experts(around: _Around, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    hidden, chosen, weights = args
    return enter_columns(hidden, around.group), chosen, enter_columns(weights, around.group)


def _leave_experts(around: _Around, _module: nn.Module, _args: Any, out: Tensor) -> Tensor:
    return around.leave(out)


def _divide_sequences(model: nn.Module, around: _Around, cut: Cut | None) -> None:
    """Between the first block's input and the last block's output each process holds its part of every sequence."""
    blocks = blocks_of(model)
    stretches = [range(len(blocks))] if cut is None else list(cut.stages.values())

    def narrow(due: Callable[[], bool], _module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if not due():
            return args, kwargs
        if args[0].shape[1] % around.size:
            raise InvalidInputError(
                f"sequences of {args[0].shape[1]} do not divide over tp {around.size}",
                hint="switch sequence_parallel off, or choose a length that divides",
            )
        return (keep_part(args[0], around.group), *args[1:]), kwargs

    def widen(due: Callable[[], bool], _module: nn.Module, _args: Any, out: Any) -> Any:
        if not due():
            return out
        if isinstance(out, tuple):
            return (gather_parts(out[0], around.group), *out[1:])
        return gather_parts(out, around.group)

    for stretch in stretches:
        due = partial(_is_due, cut, stretch)
        blocks[stretch[0]].register_forward_pre_hook(partial(narrow, due), with_kwargs=True)
        blocks[stretch[-1]].register_forward_hook(partial(widen, due))
    inside = {id(p) for block in blocks for p in block.parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) in inside and name not in around.division.shares and name not in around.division.partial:
            around.division.partial.append(name)


def _is_due(cut: Cut | None, stretch: range) -> bool:
    """Whether these blocks run now: a pipeline's process may have several stages."""
    return cut is None or cut.running.blocks == stretch


def _divide_attributes(plan: TensorPlan, name: str, module: nn.Module, size: int) -> None:
    for pattern, attributes in plan.divided_attributes.items():
        if TensorPlan(styles={pattern: "colwise"}).style(name):
            for attribute in attributes:
                setattr(module, attribute, getattr(module, attribute) // size)


def _refuse_odd_heads(model: nn.Module, size: int) -> None:
    config: Any = getattr(model, "config", None)
    for what in ("num_attention_heads", "num_key_value_heads"):
        n = getattr(config, what, None)
        if n is not None and n % size:
            fitting = [k for k in range(1, n + 1) if n % k == 0]
            raise InvalidInputError(
                f"tp {size} does not divide the model's {n} {what.removeprefix('num_').replace('_', ' ')}",
                hint=f"choose tp from {', '.join(map(str, fitting))}",
            )


def _is_transposed(module: nn.Module) -> bool:
    """Whether the weight lies as [in, out], as in GPT-2's Conv1D."""
    return type(module).__name__ == "Conv1D"
