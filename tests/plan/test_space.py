from dataclasses import replace
from itertools import product

import pytest
from tests.plan.clusters import cluster

from trainwright.errors import InvalidInputError
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.catalogue import model
from trainwright.plan.facts import gather_facts
from trainwright.plan.legal import CHOICES, NUMERIC, refusals_of
from trainwright.plan.pins import parse_pins
from trainwright.plan.scope import LADDER, ORDERS
from trainwright.plan.space import TABLE_ROWS, make_space, why_empty

SPEC = model("llama-3-8b")
FACTS = gather_facts(SPEC, Workload(global_batch=12, seq=4096), cluster(1, 8))
PLAIN = parse_pins(["precision=bf16", "!offload", "!cp_kind", "!schedule", "every=1", "recompute=none|full"])


def rows(space):
    for table in space.tables:
        for index in range(len(table.dp)):
            columns = {axis: getattr(table, axis) for axis in NUMERIC}
            yield replace(
                table, **{a: None if c is None else int(c if a_is_one(c) else c[index]) for a, c in columns.items()}
            )


def a_is_one(column):
    return isinstance(column, int)


def test_the_space_is_every_legal_combination_once():
    found = list(rows(make_space(FACTS, [8], PLAIN)))
    assert len(found) == len(set(found)) == make_space(FACTS, [8], PLAIN).n_candidates
    assert not any(refusals_of(strategy, FACTS) for strategy in found)

    def brute():
        sizes = (1, 2, 4, 8)
        for dp, tp, cp, pp, mb in product(sizes, sizes, sizes, sizes, (1, 2, 3, 4, 6, 12)):
            for zero, sp, recompute in product((0, 1, 2, 3), (False, True), ("none", "full")):
                shards = (None,) if zero == 0 else tuple(s for s in (2, 4, 8) if s <= dp) or (1,)
                for shard in shards:
                    yield Strategy(
                        dp=dp, tp=tp, cp=cp, pp=pp, micro_batch=mb, zero_stage=zero, sequence_parallel=sp,
                        recompute=recompute, shard=shard,
                    )  # fmt: skip

    wanted = {
        s
        for s in brute()
        if s.n_devices == 8 and not refusals_of(s, FACTS) and not (s.zero_stage > 0 and s.dp * s.cp == 1)
    }
    assert set(found) == wanted


def test_interleaving_uneven_blocks_recomputation_ladder_and_orders_are_in_it():
    facts = gather_facts(SPEC, Workload(global_batch=48, seq=4096), cluster(12, 4))
    space = make_space(facts, [48], parse_pins(["tp=4", "zero=1"]))
    assert {t.schedule for t in space.tables} == {"1f1b", "interleaved", "zero_bubble"}
    assert {t.order for t in space.tables} == set(ORDERS)
    stages = {int(p) for t in space.tables for p in t.pp}
    assert 3 in stages  # 32 blocks over 3 stages: uneven
    every = {int(k) for t in space.tables if t.recompute == "full" for k in t.recompute_every}
    assert every == set(LADDER)
    assert {t.offload for t in space.tables} == set(CHOICES["offload"]) - {"parameters"}  # which needs ZeRO 3


def test_a_cut_says_what_was_not_looked_at():
    whole = make_space(FACTS, [8])
    cut = make_space(FACTS, [8], limit=whole.n_candidates + TABLE_ROWS * len(list(whole.tables)) - 1)
    assert cut.n_candidates < whole.n_candidates
    assert cut.left_out == ("recomputation of every 6th block and fewer",)
    assert whole.left_out == ()


def test_an_empty_space_names_the_pin_that_emptied_it():
    pins = parse_pins(["micro_batch=1", "tp=3"])
    assert make_space(FACTS, [8], pins).n_candidates == 0
    error = why_empty(FACTS, [8], pins)
    assert isinstance(error, InvalidInputError)
    assert error.message.startswith("the pin 'tp=3' leaves no legal strategy on 8 devices: the degrees do not multiply")
    assert "without it there are" in error.hint


def test_an_empty_space_names_the_rule_that_emptied_it():
    facts = replace(FACTS, global_batch=1, n_layers=1, n_heads=1, n_kv_heads=1, seq=7)
    assert make_space(facts, [8]).n_candidates == 0
    with pytest.raises(InvalidInputError, match=r"no legal strategy on 8 devices: .* in \d+ of \d+ splits"):
        raise why_empty(facts, [8])
