import pytest

from trainwright.cost.stack import Stack, _from_table, stack, stacks
from trainwright.errors import InvalidInputError


def test_every_stack_says_where_its_constants_come_from() -> None:
    assert len({known.name for known in stacks()}) == len(stacks()) >= 15
    for known in stacks():
        assert known.source, known.name
        assert known.summary, known.name
        for share in ("overlap_dp", "overlap_fsdp", "overlap_tp", "overlap_cp", "overlap_pp", "overlap_ep"):
            assert 0.0 <= getattr(known, share) <= 1.0, (known.name, share)
        assert known.interference >= 1.0


def test_a_near_name_is_offered() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown stack 'torchtitn'") as caught:
        stack("torchtitn")
    assert "torchtitan" in str(caught.value.hint)


def test_an_odd_key_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="stack 'x' has unknown keys: speed"):
        _from_table("x", {"speed": 2})


def test_a_stack_needs_no_more_than_its_source() -> None:
    assert Stack(name="x", source="y", summary="z").attention == "flash"
