import pytest
import torch

from trainwright.capture.inputs import example_of, parse_dims_of
from trainwright.errors import InvalidInputError
from trainwright.jobs.inputs import parse_input


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("float32", "'float32' is not an input"),
        ("float33[batch]", "unknown dtype of an input 'float33'"),
        ("float32[batch,width]", "'width' is not a dimension"),
    ],
)
def test_inputs_that_cannot_be_read(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        parse_input(text)
    assert caught.value.hint


def test_real_examples_keep_to_their_bounds() -> None:
    example = example_of([parse_input("ids=int64[batch,seq]<5"), parse_input("float32[batch,2*seq]")], 3, 100, "cpu")
    assert example["ids"].max() == 4
    assert example[1].shape == (3, 200)


def test_an_example_without_a_batch_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no tensor with a batch"):
        parse_dims_of([torch.tensor(3.0)])
