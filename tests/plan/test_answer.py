from dataclasses import replace

import pytest
from tests.plan.clusters import cluster, gpu

from trainwright.errors import DoesNotFitError, InvalidInputError
from trainwright.jobs.strategy import Strategy
from trainwright.plan.aim import Aim
from trainwright.plan.answer import Question, answer
from trainwright.plan.pins import parse_pins
from trainwright.plan.subject import Asked, read_subject

PINS = parse_pins(["!offload", "!cp", "!pp", "recompute=full", "every=1", "zero=0|3"])


def question(strategy=None, aim=None, device=None, name="llama-3-8b"):
    subject = read_subject(name, Asked(batch=32, seq=4096, steps=1000))
    on = (cluster(1, 8, device),)
    return Question(
        subject=replace(subject, strategy=strategy), clusters=on, stack="torchtitan", aim=aim or Aim(), pins=PINS
    )


def test_a_strategy_made_by_hand_is_priced_like_a_found_one():
    found = answer(question())
    by_hand = answer(question(strategy=found.best.strategy))
    assert by_hand.best.step_s == found.best.step_s
    assert by_hand.best.occupied_bytes == found.best.occupied_bytes
    assert by_hand.explanation.directions == found.explanation.directions


def test_a_strategy_made_by_hand_is_refused_with_every_reason():
    with pytest.raises(InvalidInputError, match=r"cannot be:\n  dp 3 x tp 3(.|\n)*32 heads do not divide"):
        answer(question(strategy=Strategy(dp=3, tp=3)))


def test_a_strategy_made_by_hand_that_does_not_fit_says_by_how_much():
    with pytest.raises(DoesNotFitError, match=r"dp8 mb4 does not fit: .* GiB over, most of it \w+"):
        answer(question(strategy=Strategy(dp=8, micro_batch=4)))


def test_limits_that_nothing_keeps_get_the_closest_offers():
    with pytest.raises(DoesNotFitError, match=r"keeps the deadline of 1.00 s; the closest offers are\n  .*\$") as error:
        answer(question(aim=Aim(n_steps=1000, deadline_s=1.0)))
    assert "allow more or other devices" in error.value.hint


def test_nothing_fits_names_what_would_cheapest_first():
    small = gpu(memory_bytes=8e9)
    with pytest.raises(
        DoesNotFitError, match=r"none of \d+ strategies fits: the least, .* over; what would fit"
    ) as error:
        answer(question(device=small))
    assert "A100-like" in error.value.message  # more of the same
    assert error.value.hint.startswith("plan for ")


def test_subjects_that_are_nothing_are_refused():
    with pytest.raises(InvalidInputError, match="unknown model 'llama-3-9b'"):
        read_subject("llama-3-9b", Asked())
    with pytest.raises(InvalidInputError, match="a batch of 8 sequences of 0 tokens is none"):
        read_subject("llama-3-8b", Asked(batch=8, seq=0))


def test_what_was_assumed_is_told():
    subject = read_subject("gpt2", Asked())
    assert (subject.job.seq, subject.job.global_batch) == (1024, 1024)
    assert len(subject.notes) == 2
    assert "more than the 1024 that gpt2 was made for" in read_subject("gpt2", Asked(batch=1, seq=2048)).notes[0]
