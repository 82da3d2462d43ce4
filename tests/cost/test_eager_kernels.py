"""What eager kernels of a GPU take beside the products, by what they move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainwright.cost.activations import Keeper, each_kept_bytes, op_kept_bytes
from trainwright.cost.attention import CAST_PAIR_BYTES, AttentionShape, cast_attention_s, plain_attention_s
from trainwright.cost.block import block_cost
from trainwright.cost.compose import AS_IS
from trainwright.cost.corrections import scales_of
from trainwright.cost.memory_rules import memory_rules
from trainwright.cost.shard import Arithmetic, Shard
from trainwright.cost.stack import stack
from trainwright.hardware import catalogue
from trainwright.jobs.strategy import Precision, Strategy
from trainwright.models.spec import Block, Matmul, Op, Pointwise, Saved, Size

A100 = catalogue.device("A100-SXM-80GB")
EAGER = Arithmetic(low="fp16", base="fp16", device=A100, stack=stack("torch-eager"))
EACH = Size(sample=1e8)
CONVOLUTION = Matmul(name="c", rows=Size(sample=1e6), n=64, k=64, n_parameters=64 * 64, is_convolution=True)


def stream_s(*ops: Op, how: Arithmetic = EAGER) -> float:
    cost = block_cost(Block(name="b", ops=ops, boundary=EACH), Shard(batch=1.0, seq=1.0), how)
    return float(cost.forward_stream_s + cost.backward_stream_s)


def test_a_batch_norm_goes_eight_times_over_its_elements_in_16_bits_between_convolutions() -> None:
    norm = Pointwise(name="bn", elements=EACH, kernel="batch_norm")
    alone, between = stream_s(norm), stream_s(norm, CONVOLUTION) - stream_s(CONVOLUTION)
    assert between * A100.memory_bytes_per_s * 0.9 == pytest.approx(8 * 2 * 1e8, rel=0.02)
    assert alone == pytest.approx(2 * between, rel=0.02)  # nothing says that what reaches it is in 16 bits


def test_a_fused_stack_moves_what_it_did() -> None:
    norm = Pointwise(name="a norm", elements=EACH, kernel="layer_norm")
    fused = replace(EAGER, stack=replace(EAGER.stack, fused=True, autocast=False))
    assert stream_s(norm, how=fused) < 0.6 * stream_s(norm, how=replace(fused, stack=replace(fused.stack, fused=False)))


def test_a_bias_of_a_convolution_is_passes_of_its_own() -> None:
    more = stream_s(replace(CONVOLUTION, n_parameters=64 * 64 + 64)) - stream_s(CONVOLUTION)
    assert more * A100.memory_bytes_per_s * 0.9 == pytest.approx(3 * 2 * 64e6, rel=0.1)


def test_autocast_takes_the_softmax_of_plain_attention_in_fp32() -> None:
    shape = AttentionShape(batch=64.0, queries=512.0, keys=512.0, n_heads=16.0, n_kv_heads=16.0, qk_dim=64, v_dim=64)
    for backward, bytes_a_pair in ((False, CAST_PAIR_BYTES[0] - 12.0), (True, CAST_PAIR_BYTES[1] - 8.0)):
        more = cast_attention_s(shape, "fp16", A100, backward=backward)
        more -= plain_attention_s(shape, "fp16", A100, backward=backward)
        copied = 2.0 * 2.0 * shape.elements / A100.efficiency.reduction
        moved = float(more) * A100.memory_bytes_per_s * 0.9
        assert moved == pytest.approx(64 * 16 * 512 * 512 * bytes_a_pair + copied, rel=0.02)


@pytest.mark.parametrize(("precision", "each"), [("fp16", 6.0), ("fp32", 4.0)])
def test_autocast_keeps_a_softmax_in_fp32_and_a_copy_in_16_bits(precision: Precision, each: float) -> None:
    keeper = Keeper(strategy=Strategy(precision=precision), rules=memory_rules("torch-eager"), seq=1.0)
    softmax = Pointwise(name="s", elements=EACH, saved=(Saved(elements=EACH),), kernel="softmax")
    assert op_kept_bytes(softmax, keeper) == each * 1e8


@pytest.mark.parametrize(("own", "each"), [((), 6.0), ((Saved(elements=EACH),), 4.0)])
def test_what_follows_a_group_norm_is_kept_in_fp32(own: tuple[Saved, ...], each: float) -> None:
    keeper = Keeper(strategy=Strategy(precision="fp16"), rules=memory_rules("torch-eager"), seq=1.0)
    norm = Pointwise(name="n", elements=EACH, kernel="group_norm")
    act = Pointwise(name="act", elements=EACH, saved=(Saved(elements=EACH),))
    block = Block(name="b", ops=(norm, act, replace(CONVOLUTION, saved=own)), boundary=EACH)
    assert each_kept_bytes(block, keeper)[1] == each * 1e8  # and the product's copy, where it has none of its own


def test_a_layer_norm_of_long_rows_reads_them_again() -> None:
    short, long = (
        stream_s(Pointwise(name="n", elements=EACH, kernel="layer_norm", n_parameters=2 * width))
        for width in (2048, 16384)
    )
    again = (long - short) * A100.memory_bytes_per_s * 0.9
    assert 2e8 < again < 4e8  # one reading in fp32 more, less what eight times as many rows cost


def test_kernels_priced_one_by_one_stand_as_they_are() -> None:
    assert scales_of(stack("torch-eager"), A100, "encoder") == AS_IS
    assert scales_of(stack("trainwright"), A100, "other") == AS_IS
    assert scales_of(stack("trainwright"), A100, "dense") != AS_IS
