"""Every division of a step gives the losses, gradients, gradient norm and (with SGD) weights of one process."""

import pprint
from functools import partial
from itertools import product
from typing import Any

import pytest
from tests.runtime.cases import alone, strategy_of, work
from tests.runtime.world import in_world

KINDS = ("llama", "gpt2", "mixtral", "qwen3", "bert", "vit")
TWO: dict[str, Any] = {
    **{f"{kind} dp2 accumulating": (kind, {"dp": 2, "micro_batch": 2}) for kind in KINDS},
    **{f"{kind} tp2": (kind, {"tp": 2, "micro_batch": 4}) for kind in KINDS},
    **{
        f"{kind} tp2 sp": (kind, {"tp": 2, "micro_batch": 4, "sequence_parallel": True})
        for kind in KINDS
        if kind != "vit"
    },
    **{
        f"{kind} zero{stage}": (kind, {"dp": 2, "micro_batch": 2, "zero_stage": stage})
        for kind, stage in product(("llama", "gpt2", "mixtral", "bert", "vit"), (1, 2, 3))
    },
    **{
        f"{kind} cp2 {way}": (kind, {"cp": 2, "micro_batch": 4, "cp_kind": way})
        for kind, way in product(("llama", "gpt2", "mixtral", "qwen3", "bert"), ("ring", "all_to_all"))
    },
    **{
        f"{kind} pp2 {schedule}": (kind, {"pp": 2, "micro_batch": 2, "schedule": schedule})
        for kind, schedule in product(("llama", "gpt2", "mixtral", "bert"), ("gpipe", "1f1b"))
    },
    "llama pp2 interleaved": ("llama", {"pp": 2, "micro_batch": 2, "schedule": "interleaved", "virtual_stages": 2}),
    "gpt2 pp2 interleaved": ("gpt2", {"pp": 2, "micro_batch": 2, "schedule": "interleaved", "virtual_stages": 2}),
    "llama pp2 zero bubble": ("llama", {"pp": 2, "micro_batch": 2, "schedule": "zero_bubble", "virtual_stages": 2}),
    "llama pp2 uneven full": ("llama", {"pp": 2, "micro_batch": 2, "stages": (1, 3), "recompute": "full"}),
    **{
        f"{kind} zero{stage} in one piece": (kind, {"dp": 2, "micro_batch": 4, "zero_stage": stage})
        for kind, stage in product(("t5", "clip", "resnet"), (0, 1, 3))
    },
    **{
        f"{kind} dp2 unlike zero{stage}": (kind, {"dp": 2, "samples": (6, 2), "micro_batch": 3, "zero_stage": stage})
        for kind, stage in (("llama", 0), ("bert", 1), ("gpt2", 3))
    },
    **{
        f"{kind} zero{stage} offloading {what}": (
            kind,
            {"dp": 2, "micro_batch": 2, "zero_stage": stage, "offload": what, **more},
        )
        for kind, stage, what, more in (
            ("llama", 0, "optimizer", {}),
            ("gpt2", 1, "optimizer", {}),
            ("llama", 3, "optimizer", {}),
            ("gpt2", 3, "parameters", {}),
            ("mixtral", 3, "parameters", {"recompute": "full"}),
        )
    },
    "own tp2": ("own", {"tp": 2, "micro_batch": 4}),
    "llama pp2 bf16": ("llama", {"pp": 2, "micro_batch": 2, "precision": "bf16"}),
    "gpt2 zero3 bf16": ("gpt2", {"dp": 2, "micro_batch": 2, "zero_stage": 3, "precision": "bf16"}),
    "mixtral ep2 zero1": ("mixtral", {"dp": 2, "ep": 2, "micro_batch": 2, "zero_stage": 1}),
    "mixtral ep2 zero3": ("mixtral", {"dp": 2, "ep": 2, "micro_batch": 2, "zero_stage": 3}),
    "mixtral ep2": ("mixtral", {"dp": 2, "ep": 2, "micro_batch": 2}),
    "llama tp2 full": ("llama", {"tp": 2, "micro_batch": 8, "recompute": "full"}),
    "llama tp2 sp selective": (
        "llama",
        {"tp": 2, "micro_batch": 8, "recompute": "selective", "sequence_parallel": True, "recompute_every": 2},
    ),
}

DP_TP = {"dp": 2, "tp": 2, "micro_batch": 2}
PP = {"pp": 2, "micro_batch": 2}
INTERLEAVED = {"schedule": "interleaved", "virtual_stages": 2}
FOUR: dict[str, Any] = {
    **{f"{kind} dp2 tp2": (kind, DP_TP) for kind in ("llama", "vit")},
    **{f"{kind} zero{stage} tp2": (kind, {**DP_TP, "zero_stage": stage}) for kind in KINDS for stage in (1, 3)},
    "gpt2 zero2 tp2": ("gpt2", {**DP_TP, "zero_stage": 2}),
    **{
        f"{kind} zero3 tp2 sp": (kind, {**DP_TP, "zero_stage": 3, "sequence_parallel": True})
        for kind in ("llama", "gpt2", "mixtral", "qwen3", "bert")
    },
    "llama hsdp 2x2": ("llama", {"dp": 4, "micro_batch": 1, "zero_stage": 3, "shard": 2}),
    "gpt2 hsdp 2x2 zero1": ("gpt2", {"dp": 4, "micro_batch": 1, "zero_stage": 1, "shard": 2}),
    "gpt2 zero3 on 4": ("gpt2", {"dp": 4, "micro_batch": 2, "zero_stage": 3}),
    **{
        f"{kind} {name}": (kind, fields)
        for kind in ("llama", "gpt2", "mixtral", "bert")
        for name, fields in {
            "dp2 pp2": {**PP, "dp": 2},
            "zero1 pp2": {**PP, "dp": 2, "zero_stage": 1},
            "zero2 pp2": {**PP, "dp": 2, "zero_stage": 2},
            "tp2 pp2": {**PP, "tp": 2},
            "tp2 sp pp2": {**PP, "tp": 2, "sequence_parallel": True},
            "cp2 tp2": {"cp": 2, "tp": 2, "micro_batch": 4},
            "cp2 zero3": {"cp": 2, "dp": 2, "micro_batch": 2, "zero_stage": 3},
            "cp2 pp2": {**PP, "cp": 2},
            "cp2 pp2 interleaved all_to_all": {**PP, "cp": 2, **INTERLEAVED, "cp_kind": "all_to_all"},
            "cp2 tp2 sp": {"cp": 2, "tp": 2, "micro_batch": 4, "sequence_parallel": True},
            "tp2 sp pp2 interleaved": {**PP, "tp": 2, "sequence_parallel": True, **INTERLEAVED},
        }.items()
    },
    "llama tp2 pp2 interleaved": ("llama", {**PP, "tp": 2, **INTERLEAVED}),
    "llama cp4 ring": ("llama", {"cp": 4, "micro_batch": 4}),
    "bert cp4 ring full": ("bert", {"cp": 4, "micro_batch": 4, "recompute": "full"}),
    "llama cp4 ring selective": ("llama", {"cp": 4, "micro_batch": 4, "recompute": "selective"}),
    "llama cp2 dp2": ("llama", {"cp": 2, "dp": 2, "micro_batch": 2}),
    "llama cp2 zero1": ("llama", {"cp": 2, "dp": 2, "micro_batch": 2, "zero_stage": 1}),
    "llama cp2 pp2 full": ("llama", {**PP, "cp": 2, "recompute": "full"}),
    "llama zero1 pp2 zero bubble": (
        "llama",
        {**PP, "dp": 2, "zero_stage": 1, **INTERLEAVED, "schedule": "zero_bubble"},
    ),
    "llama dp2 pp2 unlike": ("llama", {**PP, "dp": 2, "micro_batch": 1, "samples": (6, 2)}),
    "llama zero3 pp2": ("llama", {**PP, "dp": 2, "zero_stage": 3}),
    "llama pp4": ("llama", {"pp": 4, "micro_batch": 2}),
    "mixtral ep2 tp2": ("mixtral", {**DP_TP, "ep": 2}),
    "mixtral ep2 of dp4": ("mixtral", {"dp": 4, "ep": 2, "micro_batch": 2}),
    "mixtral ep4": ("mixtral", {"dp": 4, "ep": 4, "micro_batch": 2}),
    "mixtral ep2 pp2": ("mixtral", {**PP, "dp": 2, "ep": 2}),
    "mixtral ep2 cp2": ("mixtral", {"dp": 2, "ep": 2, "cp": 2, "micro_batch": 2}),
    **{
        f"mixtral ep2 of zero{stage} on {n}": (
            "mixtral",
            {"dp": 4, "ep": 2, "micro_batch": 2, "zero_stage": stage, "shard": n},
        )
        for stage, n in ((1, 4), (2, 2), (3, 4))
    },
    "mixtral ep2 tp2 sp": ("mixtral", {**DP_TP, "ep": 2, "sequence_parallel": True}),
    "mixtral ep2 zero3 tp2": ("mixtral", {**DP_TP, "ep": 2, "zero_stage": 3}),
    "mixtral ep2 zero1 pp2": ("mixtral", {**PP, "dp": 2, "ep": 2, "zero_stage": 1}),
}
EIGHT: dict[str, Any] = {
    **{
        f"{kind} {name}": (kind, fields)
        for kind in ("llama", "gpt2", "mixtral", "bert")
        for name, fields in {
            "dp2 tp2 pp2": {**DP_TP, "pp": 2},
            "zero2 tp2 sp pp2": {**DP_TP, "pp": 2, "zero_stage": 2, "sequence_parallel": True},
            "zero3 tp2 cp2": {**DP_TP, "cp": 2, "zero_stage": 3},
            "tp2 sp pp2 cp2": {**PP, "tp": 2, "cp": 2, "sequence_parallel": True},
            "zero2 pp2 cp2": {**PP, "dp": 2, "cp": 2, "zero_stage": 2},
        }.items()
    },
    "mixtral ep2 of zero3 tp2": ("mixtral", {**DP_TP, "dp": 4, "ep": 2, "zero_stage": 3}),
    "mixtral ep2 zero3 pp2 cp2": ("mixtral", {**PP, "dp": 2, "ep": 2, "cp": 2, "zero_stage": 3}),
    "mixtral ep2 tp2 pp2": ("mixtral", {**DP_TP, "ep": 2, "pp": 2}),
    "llama hsdp 2x2 tp2": ("llama", {**DP_TP, "dp": 4, "zero_stage": 3, "shard": 2}),
    "llama dp outermost": ("llama", {**DP_TP, "pp": 2, "order": ("pp", "tp", "cp", "ep", "dp")}),
}
SIXTEEN: dict[str, Any] = {
    "llama dp2 tp2 pp2 cp2": ("llama", {**DP_TP, "pp": 2, "cp": 2}),
    "gpt2 zero2 tp2 sp pp2 cp2": ("gpt2", {**DP_TP, "pp": 2, "cp": 2, "zero_stage": 2, "sequence_parallel": True}),
    "mixtral ep2 zero1 tp2 pp2 cp2": ("mixtral", {**DP_TP, "pp": 2, "cp": 2, "ep": 2, "zero_stage": 1}),
}


BOUND = 1e-6
"""On losses (nats), every element of gradients and weights, and the gradient norm relative to itself; all in fp32."""


def check(n_processes: int, cases: dict[str, Any]) -> None:
    for kind, fields in cases.values():
        alone(kind, strategy_of(fields))
    found = in_world(n_processes, partial(work, cases))
    wrong = {
        name: gap
        for name, gap in found.items()
        if max(gap.losses, gap.norms, gap.gradients, gap.weights) > BOUND or not gap.n_gradients
    }
    assert not wrong, pprint.pformat(wrong)
    assert found.keys() == cases.keys()


@pytest.mark.distributed
@pytest.mark.slow
def test_two_processes() -> None:
    check(2, TWO)


@pytest.mark.distributed
@pytest.mark.slow
def test_four_processes() -> None:
    check(4, FOUR)


@pytest.mark.distributed
@pytest.mark.slow
def test_eight_processes() -> None:
    check(8, EIGHT)


@pytest.mark.distributed
@pytest.mark.slow
def test_four_axes_on_sixteen_processes() -> None:
    check(16, SIXTEEN)
