"""What follows the device of the plan, without having one: every tensor of a step on ``meta``, or a GPU described."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tests.train.plans import LLAMA
from torch.testing._internal.distributed.fake_pg import FakeStore

from trainwright.jobs.strategy import Strategy
from trainwright.runtime.device import cores_near, stay_near
from trainwright.runtime.mesh import make_mesh
from trainwright.runtime.model import build_model
from trainwright.runtime.place import Place
from trainwright.runtime.precision import precision
from trainwright.runtime.shard import shard_model

META = torch.device("meta")


@pytest.fixture
def two_in_name() -> Iterator[None]:
    """A process group of two whose collectives move nothing."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "fields",
    [
        {"tp": 2, "sequence_parallel": True},
        {"cp": 2},
        {"cp": 2, "cp_kind": "all_to_all"},
        {"dp": 2, "zero_stage": 1, "recompute": "full"},
    ],
    ids=str,
)
def test_a_step_leaves_nothing_on_the_cpu_that_belongs_on_the_device(
    fields: dict[str, Any], two_in_name: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.masking_utils.find_packed_sequence_indices", lambda _ids: None)  # reads values
    strategy = Strategy(precision="fp32", **fields)
    mesh = make_mesh(strategy, Place(n_processes=2, device_type="meta"))
    sharded = shard_model(build_model(LLAMA, 0), strategy, mesh)
    ids = torch.zeros(2, 16, dtype=torch.long, device=META)
    loss = sharded.gradients([(ids, ids)], 1.0, precision("fp32"), lambda _part: None)
    sharded.join_gradients()
    assert loss.device == META
    assert {p.grad.device for p in sharded.parameters if p.grad is not None} == {META}
    sharded.after_update()


def test_a_process_stays_on_the_cores_beside_its_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0000:3b:00.0").mkdir()
    (tmp_path / "0000:3b:00.0" / "local_cpulist").write_text("0-63,9999\n")
    assert cores_near("0000:3b:00.0", tmp_path) == {*range(64), 9999}
    assert cores_near("0000:3c:00.0", tmp_path) == set()
    kept: list[set[int]] = []
    monkeypatch.setattr("os.sched_setaffinity", lambda _pid, cores: kept.append(cores))
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {1, 2, 100})
    found = SimpleNamespace(pci_domain_id=0, pci_bus_id=0x3B, pci_device_id=0)
    stay_near(torch.device("cuda", 0), lambda _device: found, tmp_path)
    stay_near(torch.device("cpu"))
    assert kept == [{1, 2}]
