import copy
from itertools import product

import pytest
import torch
from tests.runtime.world import in_world
from torch import nn

from trainwright.runtime.batchnorm import join_batch_norms
from trainwright.runtime.collective import all_reduce
from trainwright.runtime.place import Place


def distances(place: Place) -> list[tuple[str, float, float]]:
    """(case, how far apart, what rounding may do): a norm over two processes with 5 and 7 rows, and one with all."""
    found = []
    cases = product((True, False), ((12, 6), (12, 6, 5, 5)), (torch.float32, torch.bfloat16))
    for affine, shape, dtype in cases:
        torch.manual_seed(0)
        x, grad = (2 * torch.randn(shape) + 30).to(dtype), torch.randn(shape).to(dtype)
        whole: nn.Module = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(6, affine=affine)
        for parameter in whole.parameters():
            nn.init.normal_(parameter)
        part = copy.deepcopy(whole)
        join_batch_norms(part, None)
        mine = slice(0, 5) if place.leads else slice(5, 12)
        all_in, own_in = x.clone().requires_grad_(), x[mine].clone().requires_grad_()
        all_out, own_out = whole(all_in), part(own_in)
        all_out.backward(grad)
        own_out.backward(grad[mine])
        assert own_out.dtype == dtype
        gaps = [own_out - all_out[mine], own_in.grad - all_in.grad[mine]]
        for own, wanted in zip(part.parameters(), whole.parameters(), strict=True):
            gaps.append((all_reduce(own.grad) - wanted.grad) / wanted.grad.abs().max())
        gaps += [own - wanted for own, wanted in zip(part.buffers(), whole.buffers(), strict=True)]
        furthest = max(float(gap.abs().max()) for gap in gaps)
        found.append((f"{affine} {shape} {dtype}", furthest, 2e-5 if dtype == torch.float32 else 2e-2))
    return found


@pytest.mark.distributed
def test_statistics_and_gradients_are_those_of_all_rows() -> None:
    found = in_world(2, distances)
    assert len(found) == 8
    assert not [each for each in found if each[1] > each[2]]
