"""Metrics of devices, and the filters over them."""

import pytest

from trainwright.errors import InvalidInputError
from trainwright.hardware.metrics import Filter, metrics, parse_filter, select


def test_the_ten_metrics_of_an_a100() -> None:
    one = metrics("A100-SXM-80GB")
    assert one.formula_flop_per_s == pytest.approx(19.5e12, rel=0.01)
    assert one.sixteen_bit_flop_per_s == 312e12
    assert one.flop_per_joule == pytest.approx(312e12 / 400)
    assert one.features == ("tf32", "bf16", "fp16", "int8", "int4", "NVLink-3")
    assert one.price is not None
    assert one.purchase is not None
    assert max(best.flop_per_s for best in one.best_matmuls) > 0.8 * 312e12


def test_what_nobody_says_is_none() -> None:
    one = metrics("TPU-v5p")
    assert (one.formula_flop_per_s, one.flop_per_joule, one.purchase) == (None, None, None)


def test_filters() -> None:
    asked = parse_filter({"vendor": "nvidia", "dtype": "FP8", "memory": "141 GiB", "year": 2024, "price": "$4"})
    names = {one.device.name for one in select((), asked)}
    assert names == {"H200-SXM"}
    assert {one.device.kind for one in select((), Filter(kind="tpu"))} == {"tpu"}
    assert [one.device.name for one in select(["L4", "T4"], Filter())] == ["L4", "T4"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"vendor": "NVIDA"}, "unknown vendor 'NVIDA'"),
        ({"kind": "abacus"}, "unknown kind 'abacus'"),
        ({"dtype": "bf32"}, "unknown dtype 'bf32'"),
        ({"memory": "40"}, "'40' has no byte unit"),
        ({"price": "2"}, "'2' has no currency"),
    ],
)
def test_refusals(asked: dict[str, str | int | None], says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_filter(asked)
    assert says in caught.value.message
    assert caught.value.hint


def test_filters_that_leave_nothing() -> None:
    with pytest.raises(InvalidInputError, match=r"none of \d+ devices passes every filter"):
        select((), Filter(dollars_per_hour=0.01))
