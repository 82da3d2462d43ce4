"""A table priced in factors gives what pricing each candidate whole gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.cost.clusters import a100_cluster

from trainwright.cost import memory
from trainwright.cost.factors import Pricing, peak_bytes, states_tables, steady_tables, step_seconds
from trainwright.cost.memory import activity, holdings
from trainwright.cost.memory_rules import memory_rules
from trainwright.cost.stack import stack
from trainwright.cost.stages import PriceBook
from trainwright.cost.step import estimate_step
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.catalogue import model

WORK = Workload(global_batch=4096, seq=2048)
CLUSTER = a100_cluster(64)
N_BASE, N_WORK, N_STATES, N_ROWS = 12, 40, 50, 200


def random_columns(rng: np.random.Generator, ep: int) -> dict[str, np.ndarray]:
    powers = {name: 2 ** rng.integers(0, top, N_BASE) for name, top in (("dp", 6), ("tp", 4), ("cp", 3), ("pp", 4))}
    return powers | {"dp": powers["dp"] * ep, "micro_batch": 2 ** rng.integers(0, 3, N_BASE)}


@pytest.mark.parametrize("name", ["gpt3-175b", "mixtral-8x7b"])
@pytest.mark.parametrize("software", ["megatron-core", "torchtitan", "trainwright"])
@pytest.mark.parametrize("zero_stage", [0, 1, 3])
def test_factors_give_what_the_whole_table_gives(name: str, software: str, zero_stage: int) -> None:
    rng = np.random.default_rng(zero_stage)
    spec, tools, ep = model(name), stack(software), 8 if name == "mixtral-8x7b" else 1
    base = random_columns(rng, ep)
    work_base, states_base = rng.integers(0, N_BASE, N_WORK), rng.integers(0, N_BASE, N_STATES)
    every = {"recompute_every": rng.integers(1, 4, N_WORK), "virtual_stages": np.full(N_WORK, 1)}
    shard = {"shard": np.maximum(base["dp"][states_base] // 2 ** rng.integers(0, 3, N_STATES), 1)} if zero_stage else {}
    how = {"recompute": "full", "sequence_parallel": True, "ep": ep}
    states = {"zero_stage": zero_stage, "offload": "optimizer" if zero_stage == 1 else "none", "ep": ep}
    work_table = Strategy(**{key: column[work_base] for key, column in base.items()}, **every, **how)
    states_table = Strategy(**{key: column[states_base] for key, column in base.items()}, **shard, **states)
    pairs = np.argwhere(work_base[:, None] == states_base)[:N_ROWS]
    rows = pairs[:, 0], pairs[:, 1]
    picked = {key: column[work_base][rows[0]] for key, column in base.items()}
    whole = Strategy(
        **picked,
        **{key: column[rows[0]] for key, column in every.items()},
        **{key: column[rows[1]] for key, column in shard.items()},
        **(how | states),
    )
    pricing = Pricing(model=spec, workload=WORK, groups=CLUSTER.groups, stack=tools, book=PriceBook())
    seconds = step_seconds(pricing, steady_tables(work_table, pricing), states_tables(states_table, pricing), rows)
    plain = estimate_step(spec, WORK, whole, CLUSTER, tools)
    np.testing.assert_allclose(seconds, plain.step_s, rtol=1e-12)
    rules = replace(memory_rules(software), attention=tools.attention)
    peak = peak_bytes(activity(spec, WORK, work_table, rules), holdings(spec, WORK, states_table, rules), rows)
    np.testing.assert_allclose(peak, memory.peak_bytes(spec, WORK, whole, rules), rtol=1e-12)
    np.testing.assert_allclose(peak, plain.peak_bytes, rtol=1e-12)
