import pytest

from trainwright.errors import InvalidInputError
from trainwright.plan.pins import allowed, parse_pin, parse_pins, pinned_values


def test_values_exclusions_and_aliases():
    pins = parse_pins(["tp=2|4", "!tp=4", "!pp", "sp=on", "zero=3", "order=tp-dp-cp-ep-pp"])
    assert pinned_values(pins, "tp") == (2,)
    assert allowed(pins, "pp", 1)
    assert not allowed(pins, "pp", 2)
    assert pinned_values(pins, "sequence_parallel") == (True,)
    assert pinned_values(pins, "zero_stage") == (3,)
    assert pinned_values(pins, "order") == (("tp", "dp", "cp", "ep", "pp"),)
    assert pinned_values(pins, "cp") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tpp=2", "unknown axis 'tpp'\nhint: did you mean"),
        ("tp=", "'tp=' gives tp no value\nhint: write 'tp=VALUE' or '!tp'"),
        ("tp=two", "'tp=two': tp is a whole number\nhint: write it like 'tp=2'"),
        ("recompute=fully", "unknown recompute 'fully'\nhint: did you mean full?"),
    ],
)
def test_a_pin_that_means_nothing_is_refused(text, message):
    with pytest.raises(InvalidInputError) as error:
        parse_pin(text)
    assert message in str(error.value)


def test_contradictory_pins_are_both_named():
    with pytest.raises(InvalidInputError, match="'tp=8' and '!tp' contradict each other"):
        parse_pins(["tp=8", "recompute=none", "!tp"])
