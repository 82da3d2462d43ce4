from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.capture import samples
from tests.capture.measured import peak_of_step, seeded

from trainwright.capture.inputs import example_of
from trainwright.capture.module import Captured, Setup, capture, captured
from trainwright.errors import InvalidInputError
from trainwright.jobs.inputs import parse_input
from trainwright.models.figures import figures
from trainwright.models.flop import forward_flop
from trainwright.models.spec import Lookup, Matmul


def found(build: Callable[[], Any], *inputs: str, batch: int = 4, seq: int | None = None) -> Captured:
    setup = Setup(inputs=tuple(parse_input(text) for text in inputs), batch=batch, seq=seq)
    return captured(build, setup, build.__name__)


@pytest.mark.parametrize(
    ("build", "inputs", "says"),
    [
        (samples.build_mismatched, "float32[batch,4]", r"layer second \(Linear\) at .*\.py:\d+: .*\[4, 8\] X \[9, 3\]"),
        (samples.build, "float32[batch,5]", r"layer first \(Linear\).*\[4, 5\] X \[4, 8\].*weight \(8, 4\)"),
        (samples.build, "y=float32[batch,4]", "wrong arguments: .*'y'"),
        (samples.build_failing, "float32[batch,4]", r"failed at .*samples.py:\d+: RuntimeError: no such"),
        (samples.build_lazy, "float32[batch,4]", "0.weight has no size before its module first runs"),
        (samples.Silent, "float32[batch,4]", "returned str, in which there is no tensor to learn from"),
        (samples.build_number, "float32[batch,4]", "build_number returned int, not a torch.nn.Module"),
    ],
)  # fmt: skip
def test_what_cannot_be_captured_is_named(build: Callable[[], Any], inputs: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        found(build, inputs)
    assert caught.value.hint


def test_an_op_without_a_fake_kernel_is_unknown_and_the_rest_known() -> None:
    result = found(samples.WithOpaque, "float32[batch,16]")
    (unknown,) = [each for each in result.trace.unknown if each.op == "samples.opaque.default"]
    assert "samples.py:" in unknown.line
    assert 0 < result.spec.unknown_flop_share < 0.5
    assert forward_flop(result.spec, 4, 1) == 2 * (2 * 4 * 16 * 16)


def test_values_that_leave_torch_are_told_and_the_rest_known() -> None:
    result = found(samples.ReadsValues, "float32[batch,4]")
    assert {each.op for each in result.trace.unknown} == {"Tensor.numpy", "Tensor.tolist"}
    assert all("samples.py:" in each.line for each in result.trace.unknown)
    assert 0 < result.spec.unknown_flop_share < 1
    assert result.spec.n_parameters == 20


def test_a_loop_on_data_ends_and_is_told() -> None:
    (guess,) = found(samples.Endless, "float32[batch,4]").trace.guesses
    assert guess.op == "truth of a tensor"
    assert guess.times == 9
    assert "samples.py:" in guess.line


def test_rows_chosen_by_data_are_all_taken() -> None:
    result = found(samples.Chooses, "float32[batch,4]")
    assert [guess.taken for guess in result.trace.guesses] == ["every element"]
    assert forward_flop(result.spec, 4, 1) == 2 * 4 * 4 * 4


def test_what_nobody_differentiates_is_let_go_and_losses_keep_what_they_sum() -> None:
    inputs = (parse_input("float32[batch,64]"),)
    result = captured(samples.Codebook, Setup(inputs=inputs, batch=256, kernels="cpu"), "codebook")
    with seeded():
        real = peak_of_step(samples.Codebook(), example_of(inputs, 256, 1, "cpu"), torch.optim.SGD)
    assert result.trace.peak_bytes == pytest.approx(real, rel=0.03)


def test_small_numbers_read_while_building_are_real() -> None:
    result = found(samples.ReadsWhileBuilding, "float32[batch,200]")
    assert result.module.rates == pytest.approx([0.0, 0.1, 0.2])
    assert all(p.is_meta for p in result.module.parameters())


def test_a_real_module_with_real_tensors_is_left_as_it_is() -> None:
    module = torch.nn.Sequential(torch.nn.Embedding(50, 8), torch.nn.Linear(8, 8))
    spec = capture(module, [torch.zeros(2, 16, dtype=torch.int64)])
    lookup, linear = spec.blocks[0].ops[:2]
    assert isinstance(lookup, Lookup)
    assert isinstance(linear, Matmul)
    assert (linear.rows.token, spec.max_seq, spec.unit) == (1.0, 16, "tokens")
    assert not any(p.is_meta for p in module.parameters())


def test_blocks_of_a_long_model_are_those_of_the_whole() -> None:
    """What is traced of a run of equal layers and multiplied is what the whole would have given."""
    from benchmarks.zoo.pretrained_shapes import text_model

    from trainwright.capture import units

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "vocab_size": 100}
    inputs = ("input_ids=int64[batch,seq]", "labels=int64[batch,seq]")
    long = found(lambda: text_model("llama", num_hidden_layers=24, **sizes), *inputs, batch=2, seq=16)
    assert long.is_shortened
    assert [block.repeats for block in long.spec.blocks] == [1, 24, 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "KEPT", 1000)
        whole = found(lambda: text_model("llama", num_hidden_layers=24, **sizes), *inputs, batch=2, seq=16)
    assert not whole.is_shortened
    assert long.spec.blocks == whole.spec.blocks


def test_a_loop_over_a_long_sequence_is_that_of_a_short_one() -> None:
    """RWKV goes over time in Python, and its first block has a norm more than the others."""
    from transformers import RwkvConfig, RwkvForCausalLM

    from trainwright.capture import module, units

    sizes = {"hidden_size": 32, "attention_hidden_size": 32, "intermediate_size": 64, "vocab_size": 100}
    inputs = ("input_ids=int64[batch,seq]", "labels=int64[batch,seq]")

    def at_16() -> Captured:
        return found(lambda: RwkvForCausalLM(RwkvConfig(num_hidden_layers=12, **sizes)), *inputs, batch=2, seq=16)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "KEPT", 1000)
        whole = at_16()
        patch.setattr(units, "KEPT", 3)
        patch.setattr(module, "LEAST_SEQ", 16)
        patch.setattr(module, "MOST_OPS", 1000)
        short = at_16()
    assert not whole.is_shortened
    assert short.is_shortened
    assert any("traced at 4" in note for note in short.notes)
    assert [block.repeats for block in short.spec.blocks] == [1, 1, 11, 1]
    assert figures(short.spec, 16) == figures(whole.spec, 16)
