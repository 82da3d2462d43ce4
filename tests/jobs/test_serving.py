"""Serving jobs: the [serving] table and --serve, read alike, every mistake named."""

import pytest

from trainwright.errors import InvalidInputError
from trainwright.jobs.keys import SERVING
from trainwright.jobs.parse import parse_job
from trainwright.jobs.serving import Requests, Serving, parse_mix, parse_serving
from trainwright.jobs.store import job_from_dict, job_to_dict

JOB = """
[model]
preset = "llama-3-8b"
[job]
objective = "serve"
[serving]
mix = ["70% 500+200", "30% 8k+300"]
rate = 4
tpot = "40 ms"
weights = "fp8"
"""
READERS = {name: key.read for name, key in SERVING.items()}


def test_a_serving_job_needs_no_data_and_no_batch_and_is_stored_whole():
    job = parse_job(JOB, "job.toml")
    assert job.objective == "serve"
    assert job.serving == Serving(
        mix=(Requests(prompt=500, output=200, share=0.7), Requests(prompt=8000, output=300, share=0.3)),
        rate=4.0,
        tpot_s=0.04,
        weights="fp8",
    )
    assert job.seq == 8300
    assert job_from_dict(job_to_dict(job)).serving == job.serving


def test_the_serving_table_alone_says_what_the_job_is():
    assert parse_job('[model]\npreset = "gpt2"\n[serving]\nprompt = 10\n', "job.toml").serving.mix[0].prompt == 10
    both = '[model]\npreset = "gpt2"\n[training]\nobjective = "serve"\n'
    assert parse_job(both, "job.toml").serving == Serving()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("rate = -1", "job.toml:4: serving.rate = -1 must be a number above 0"),
        ("ttft = 3", "must be a time with its unit in quotes"),
        ('ttft = "0 s"', "must be a time above 0"),
        ('mix = ["some"]', 'must be a list of "SHARE PROMPT\\+OUTPUT"'),
        ('mix = ["0 5+5"]', "needs a share above 0"),
        ("prompt = 5\nmix = ['5+5']", "serving.mix already says"),
        ("rate = 1\n[training]\nsteps = 3", "training.steps is for training, and this job serves"),
        ('kv = "fp9"', "must be one of fp32"),
    ],
)
def test_every_mistake_is_named_with_its_line(more, message):
    with pytest.raises(InvalidInputError, match=message):
        parse_job(f'[model]\npreset = "gpt2"\n[serving]\n{more}\n', "job.toml")


def test_the_command_line_goes_before_the_file():
    stated = Serving(mix=parse_mix(("1 10+20", "1 30+40")), rate=1.0)
    asked = parse_serving("rate=2, ttft=500ms", stated, READERS)
    assert (asked.rate, asked.ttft_s, asked.mix) == (2.0, 0.5, stated.mix)
    assert parse_serving("prompt=2k", stated, READERS).mix == (Requests(prompt=2000, output=20),)
    assert asked.describe() == "10+20 (50 %), 30+40 (50 %) tokens, 2 requests/s, ttft at most 500 ms"


@pytest.mark.parametrize(
    ("text", "message"),
    [("rat=1", "unknown key of a serving job 'rat'"), ("rate", "gives rate no value"), ("rate=x", "rate=x must be")],
)
def test_bad_words_on_the_command_line(text, message):
    with pytest.raises(InvalidInputError, match=message):
        parse_serving(text, Serving(), READERS)
