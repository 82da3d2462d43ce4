from dataclasses import replace

import pytest

from trainwright.cost.activations import Keeper, backward_need_bytes
from trainwright.cost.block import block_cost
from trainwright.cost.loops import nearer_s, round_elements
from trainwright.cost.memory_rules import memory_rules
from trainwright.cost.shard import Arithmetic, Shard
from trainwright.cost.stack import stack
from trainwright.hardware.catalogue import device
from trainwright.jobs.strategy import Strategy
from trainwright.models.spec import Block, Matmul, Pointwise, Size

FAR, NEAR = 1e9, 1e10


def _device():
    known = device("H100-SXM")
    efficiency = replace(
        known.efficiency, stream_points=((1e3, FAR), (1e9, FAR)), near_points=((1e3, NEAR), (1e9, FAR))
    )
    return replace(known, kind="cpu", efficiency=efficiency)


def _cell(n_rounds):
    gates = Pointwise(name="cell", n_kernels=2 * n_rounds, backward_kernels=0, elements=Size(token=100.0))
    product = Matmul(
        name="cell", n_kernels=n_rounds, count=n_rounds, rows=Size(token=1.0 / n_rounds), k=10, n=20, n_parameters=200
    )
    return Block(name="cell", ops=(gates, product), boundary=Size())


def test_a_round_touches_its_share_of_the_elements_and_the_whole_weight():
    assert round_elements(_cell(16), 4.0, 16.0) == pytest.approx(64 * 100 * 5 / 16 + 10 * 20)


def test_kernels_of_a_loop_take_what_is_near_and_others_what_is_far():
    how = Arithmetic(low="fp32", base="fp32", device=_device(), stack=stack("trainwright"))
    looped, once = (block_cost(_cell(n), Shard(batch=4.0, seq=16.0), how).forward_stream_s for n in (16, 2))
    assert once == pytest.approx(64 * 100 * 2 * 4 / FAR)
    assert FAR / NEAR < looped / once < 0.7


def test_backward_of_a_loop_holds_gradients_of_one_round_at_a_time():
    keeper = Keeper(strategy=Strategy(micro_batch=4, precision="fp32"), rules=memory_rules("trainwright"), seq=16.0)
    looped, once = (backward_need_bytes(_cell(n).ops[0], keeper) for n in (16, 2))
    assert once == pytest.approx(64 * 100 * 2 * 4)
    assert looped == pytest.approx(once / 32)


def test_what_a_kernel_takes_beyond_moving_it_still_takes_in_a_loop():
    moved, counting_s = 1e6, 5e-3
    far_s = moved / FAR
    assert nearer_s(far_s + counting_s, moved, 16, 1e3, _device()) == pytest.approx(counting_s + moved / NEAR)
    assert nearer_s(far_s, moved, 1, 1e3, _device()) == far_s
