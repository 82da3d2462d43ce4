from dataclasses import replace

import numpy as np
import pytest
from tests.plan.clusters import cluster

from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.catalogue import model
from trainwright.models.shape import Shape
from trainwright.models.transformer import decoder
from trainwright.plan.facts import gather_facts
from trainwright.plan.legal import RULES, Reason, legal_rows, refusals

SPEC = model("llama-3-8b")  # 32 layers, 32 heads, 8 key-value heads
WORKLOAD = Workload(global_batch=48, seq=4096)
BROKEN = {
    Reason.POSITIVE: (Strategy(dp=0), "dp 0: every degree and batch is at least 1"),
    Reason.DEVICES: (Strategy(dp=48), "dp 48 x tp 1 x cp 1 x pp 1 = 48 devices, 16 there"),
    Reason.TP_HEADS: (Strategy(tp=3), "tp 3: 32 heads do not divide"),
    Reason.TP_KV_HEADS: (Strategy(tp=16), "tp 16: 8 key-value heads do not divide"),
    Reason.TP_NODE: (Strategy(tp=16), "a node has 8 devices"),
    Reason.SP_TP: (Strategy(sequence_parallel=True), "tp is 1"),
    Reason.SP_SEQ: (Strategy(sequence_parallel=True, tp=3), "4096 positions do not divide over tp 3"),
    Reason.CP_SEQ: (Strategy(cp=3), "4096 positions do not divide into 6 pieces"),
    Reason.CP_HEADS: (Strategy(cp=8, tp=2, cp_kind="all_to_all"), "8 key-value heads do not divide"),
    Reason.EP_MODEL: (Strategy(dp=2, ep=2), "no experts"),
    Reason.EP_EXPERTS: (Strategy(dp=2, ep=2), "1 experts do not divide"),
    Reason.EP_RANKS: (Strategy(dp=3, ep=2), "must divide them"),
    Reason.BATCH: (Strategy(dp=5), "a global batch of 48 does not divide over dp 5 x micro-batch 1"),
    Reason.STAGES: (Strategy(pp=16, virtual_stages=4, schedule="interleaved"), "32 blocks to divide"),
    Reason.STAGE_LIST: (Strategy(pp=2, stages=(10, 10)), "make 32 blocks"),
    Reason.VIRTUAL: (Strategy(pp=2, virtual_stages=2), "schedule 1f1b at pp 2 does not go with 2 virtual stages"),
    Reason.MICRO_BATCHES: (
        Strategy(dp=1, micro_batch=16, pp=2, schedule="interleaved", virtual_stages=2),
        "3 micro-batches do not suit schedule interleaved of 2 stages",
    ),
    Reason.SHARD: (Strategy(dp=4, shard=3, zero_stage=3), "sharded over 3 of dp 4"),
    Reason.DTYPE: (Strategy(precision="fp8"), "A100-like has no fp8: it computes in bf16, fp16, fp32"),
    Reason.OFFLOAD: (Strategy(offload="parameters"), "ZeRO is at stage 0"),
    Reason.RECOMPUTE_EVERY: (Strategy(recompute_every=2), "k > 1 needs recomputation"),
    Reason.ORDER: (Strategy(order=("tp", "dp")), "must name tp, cp, ep, dp and pp once each"),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_every_rule_refuses_with_its_numbers(reason):
    strategy, text = BROKEN[reason]
    found = {refusal.reason: refusal for refusal in refusals(strategy, SPEC, WORKLOAD, cluster())}
    assert reason in found
    assert text in found[reason].message or text in (found[reason].advice or "")


def test_models_without_splits_or_attention_refuse_tp_and_cp():
    bare = replace(gather_facts(SPEC, WORKLOAD, cluster()), splits=False, n_heads=0, n_kv_heads=0)
    assert not legal_rows(Strategy(tp=2), bare)[0]
    assert not legal_rows(Strategy(cp=2), bare)[0]
    assert {rule.reason for rule in RULES} == set(Reason)
    assert set(Reason) - set(BROKEN) == {Reason.TP_MODEL, Reason.CP_MODEL}


def test_advice_is_the_nearest_value_that_would_do():
    [heads] = refusals(
        Strategy(tp=4), decoder(Shape(layers=4, hidden=60, heads=10, vocabulary=99, ffn=64)), WORKLOAD, cluster()
    )[:1]
    assert (heads.reason, heads.advice) == (Reason.TP_HEADS, "the nearest that would do is tp=5")
    [batch] = refusals(Strategy(dp=16, micro_batch=4), SPEC, WORKLOAD, cluster())
    assert batch.advice == "the nearest that would do is micro_batch=3"
    uneven = refusals(Strategy(dp=5), SPEC, WORKLOAD, cluster())
    assert "--batch 50" in [one.advice for one in uneven]


def test_a_table_is_masked_as_each_of_its_rows_is_refused():
    tp, micro_batch = (grid.ravel() for grid in np.meshgrid(np.arange(1, 17), np.arange(1, 9)))
    facts = gather_facts(SPEC, WORKLOAD, cluster())
    mask = legal_rows(Strategy(dp=2, tp=tp, micro_batch=micro_batch), facts)
    one_by_one = [
        not refusals(Strategy(dp=2, tp=int(t), micro_batch=int(m)), SPEC, WORKLOAD, cluster())
        for t, m in zip(tp, micro_batch, strict=True)
    ]
    assert mask.tolist() == one_by_one
    assert 0 < mask.sum() < mask.size


def test_tp_across_nodes_when_allowed():
    refused = {r.reason for r in refusals(Strategy(tp=8), SPEC, WORKLOAD, cluster(8, 2))}
    assert refused == {Reason.TP_NODE}
    assert refusals(Strategy(tp=8), SPEC, WORKLOAD, cluster(8, 2), tp_across_nodes=True) == ()
