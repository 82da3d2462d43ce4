import pytest

from trainwright.errors import InvalidInputError
from trainwright.jobs.strategy import Strategy
from trainwright.jobs.strategy_text import parse_strategy, strategy_text


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("tq=8", "unknown strategy key 'tq'", "tp"),
        ("dp", "gives dp no value", "dp=8,tp=4"),
        ("dp=2,dp=4", "gives dp twice", "once"),
        ("dp=two", "dp is a whole number", "dp=8,tp=4"),
        ("zero=4", "ZeRO has stages 0 to 3", "zero=3"),
        ("recompute=ful", "unknown recompute 'ful'", "full"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        parse_strategy(text)
    assert hint in str(caught.value.hint)


def test_text_and_strategy_are_inverse() -> None:
    strategy = Strategy(
        dp=4, tp=2, pp=2, zero_stage=1, sequence_parallel=True, schedule="interleaved", virtual_stages=2,
        stages=(3, 3, 3, 3), recompute="full", precision="fp8", order=("tp", "pp", "cp", "ep", "dp"),
    )  # fmt: skip
    assert parse_strategy(strategy_text(strategy)) == strategy
    assert parse_strategy("") == Strategy() == parse_strategy(strategy_text(Strategy()))
