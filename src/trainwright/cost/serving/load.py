"""Passes in a row: a batch of prompts, a decoding batch, and the steady state of continuous batching.

Every answer is a list of passes with how often each is done, so that one set of corrections scales them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainwright.cost.serving.compose import ServingScales, pass_s
from trainwright.cost.serving.forward import Pass, Work, forward
from trainwright.cost.serving.replica import Replica
from trainwright.jobs.serving import Requests
from trainwright.units import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """One kind of pass, done ``count`` times one after another."""

    one: Pass
    count: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a mix of requests amounts to.

    ``prompt``, ``output``: mean tokens; ``square``: mean of prompt tokens squared; ``context``: mean tokens behind a
    sequence while it decodes, each request counting for as long as it stays.
    """

    prompt: float
    output: float
    square: float
    context: float


def means(mix: Sequence[Requests]) -> Means:
    """The means of a mix.

    >>> means((Requests(prompt=100, output=10, share=0.5), Requests(prompt=300, output=30, share=0.5))).context
    262.5
    """
    output = sum(kind.share * kind.output for kind in mix)
    return Means(
        prompt=sum(kind.share * kind.prompt for kind in mix),
        output=output,
        square=sum(kind.share * kind.prompt**2 for kind in mix),
        context=sum(kind.share * kind.output * (kind.prompt + kind.output / 2) for kind in mix) / output,
    )


def total_s(passes: Sequence[Repeated], scales: ServingScales) -> Number:
    """Seconds of all passes."""
    total: Number = sum((pass_s(each.one, scales) * each.count for each in passes), start=0.0)
    return total


def prefill(
    replica: Replica, prompts: Number, tokens: float, *, beside: Number = 0.0, context: float = 1.0
) -> Repeated:
    """The passes until ``prompts`` prompts that came together have their first token, chunk after chunk.

    With pp stages chunks follow each other: n of them take (n + pp - 1) / pp passes. ``beside``: sequences that decode
    in the same passes.
    """
    here = np.maximum(prompts / replica.ep, np.minimum(prompts, 1.0))
    pieces = np.maximum(np.ceil(here * tokens / replica.stack.chunk), np.minimum(here, replica.pp))
    pieces = np.maximum(pieces, 1.0)
    work = Work(prompts=here / pieces, prompt_tokens=tokens, sequences=beside, context=context)
    count = (pieces + replica.pp - 1) / replica.pp * replica.imbalance
    return Repeated(one=forward(replica, work), count=count)


def decode(replica: Replica, sequences: Number, context: Number) -> Repeated:
    """The pass that gives each of ``sequences`` its next token; pp parts of them are under way at once."""
    here = np.maximum(sequences / (replica.ep * replica.pp), 1.0)
    return Repeated(one=forward(replica, Work(sequences=here, context=context)), count=replica.imbalance)


def fixed_batch(replica: Replica, sequences: Number, kind: Requests) -> list[Repeated]:
    """A batch that starts and ends together: its prompts, then a pass for each further token."""
    context = kind.prompt + kind.output / 2.0
    one = decode(replica, sequences, context)
    further = Repeated(one=one.one, count=one.count * max(kind.output - 1, 0))
    return [prefill(replica, sequences, kind.prompt), further]


def steady(replica: Replica, sequences: Number, mix: Sequence[Requests]) -> list[Repeated]:
    """What happens while each of ``sequences`` in flight gets one token, new prompts replacing finished requests.

    In flow balance each pass brings sequences / output new prompts. Engines that mix them into the pass read the
    weights once for both; others stop decoding meanwhile, and take as many prompts at once as a chunk holds.
    Source: Agrawal et al., Sarathi-Serve, arXiv:2403.02310; Yu et al., Orca, OSDI 2022.
    """
    mean = means(mix)
    here = np.maximum(sequences / (replica.ep * replica.pp), 1.0)
    arriving = here / mean.output
    length = mean.square / mean.prompt  # as many tokens in fewer, longer prompts have the same pairs
    alike = mean.prompt / length
    if replica.stack.mixed:
        work = Work(
            prompts=arriving * alike,
            prompt_tokens=length,
            sequences=here,
            context=mean.context,
            heads=here + arriving,
        )
        return [Repeated(one=forward(replica, work), count=replica.imbalance)]
    reading = prompt_passes(replica, mean, here)
    return [
        decode(replica, sequences, mean.context),
        Repeated(one=reading.one, count=arriving * reading.count * replica.imbalance),
    ]


def prompt_passes(replica: Replica, mean: Means, most: Number = np.inf) -> Repeated:
    """The pass that reads prompts and nothing else, as many at once as a chunk holds, and how many a prompt takes."""
    together = np.maximum(np.minimum(np.floor(replica.stack.chunk / mean.prompt), most), 1.0)
    pieces = np.maximum(np.ceil(mean.prompt / replica.stack.chunk), 1.0)
    length = mean.square / mean.prompt
    alike = mean.prompt / length
    work = Work(prompts=together * alike / pieces, prompt_tokens=length, heads=together / pieces)
    return Repeated(one=forward(replica, work), count=pieces / together)
