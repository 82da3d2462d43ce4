"""Expert parallel: each process of a data-parallel group holds some of the experts.

Tokens of the group are gathered, every process runs its own experts over those that chose them, and outputs are summed
back to where the tokens came from (all-gather and reduce-scatter). Exact, and cheap while few experts lie on each of
few processes; an exchange of only the chosen tokens would move less when the group is larger than experts per token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.distributed as dist
from torch import Tensor, nn

from trainwright.errors import InvalidInputError
from trainwright.runtime.collective import WIRE, Group, gather_into
from trainwright.runtime.differentiable import gather_seq, scatter_seq
from trainwright.runtime.share import Share, cut_again, even_cut, whole


def divide_experts(model: nn.Module, shares: dict[str, Share], group: Group, index: int, size: int) -> list[str]:
    """Keep this process's experts, in place; ``shares`` is updated, and the names of divided parameters returned."""
    divided: list[str] = []
    for module_name, module in model.named_modules():
        matrices = {name: p for name, p in module.named_parameters(recurse=False) if p.dim() == 3}
        if not matrices or not hasattr(module, "num_experts"):
            continue
        n_experts = int(module.num_experts)
        if n_experts % size:
            raise InvalidInputError(
                f"ep {size} does not divide the model's {n_experts} experts", hint=f"choose a divisor of {n_experts}"
            )
        span = even_cut((n_experts,), 0, index, size).spans[0]
        begin, end = span.offset[0], span.offset[0] + span.size[0]
        for own, parameter in matrices.items():
            name = f"{module_name}.{own}"
            shares[name] = cut_again(shares.get(name, whole(tuple(parameter.shape))), begin, end)
            parameter.data = parameter.data[begin:end].clone()
            divided.append(name)
        module.num_experts = end - begin
        module._is_expert_parallel = True  # transformers then leaves the number after the last expert out
        module.forward = partial(_gathered, partial(_run_mine, module.forward, begin, end - begin), group)
    if not divided:
        raise InvalidInputError(f"{type(model).__name__} has no experts to divide over ep {size}", hint="use ep 1")
    return divided


def _gathered(run_mine: Callable[..., Tensor], group: Group, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """Tokens of the whole group through this process's experts, and the sums back."""
    everybody = chosen.new_empty(dist.get_world_size(group) * chosen.shape[0], *chosen.shape[1:])
    with WIRE.running("ep all_gather"):
        gather_into(everybody, chosen.contiguous(), group=group)
    out = run_mine(gather_seq(hidden, group, 0), everybody, gather_seq(weights, group, 0))
    return scatter_seq(out, group, 0)


def _run_mine(
    inner: Callable[..., Tensor], begin: int, n_mine: int, hidden: Tensor, chosen: Tensor, weights: Tensor
) -> Tensor:
    """Experts ``begin`` onwards; a choice that lies elsewhere becomes the number after the last, with weight 0."""
    mine = chosen - begin
    elsewhere = (mine < 0) | (mine >= n_mine)
    return inner(hidden, mine.masked_fill(elsewhere, n_mine), weights.masked_fill(elsewhere, 0.0))
