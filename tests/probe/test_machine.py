from dataclasses import replace

import pytest

from trainwright.errors import MissingExtraError
from trainwright.hardware.machine import save_machine
from trainwright.probe import machine as probing
from trainwright.probe.division import Division
from trainwright.probe.identity import Identity, identity


def _someone(**changes):
    known = {"processor": "p", "n_cores": 2, "memory_bytes": 8e9, "gpus": (), "torch_version": "2.13.0"}
    return Identity(**{**known, **changes})


def test_the_fingerprint_tells_machines_and_versions_apart():
    assert _someone().fingerprint == _someone(memory_bytes=8e9 + 4096).fingerprint
    others = {
        _someone(torch_version="2.14").fingerprint,
        _someone(n_cores=4).fingerprint,
        _someone(gpus=("A",)).fingerprint,
    }
    assert len(others | {_someone().fingerprint}) == 4
    assert identity().n_cores >= 1
    assert identity().memory_bytes > 2**27


def test_without_torch_nothing_is_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("TRAINWRIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr(probing, "identity", lambda: _someone(torch_version="absent"))
    with pytest.raises(MissingExtraError, match=r"torch is not installed.*\n.*trainwright\[train\]"):
        probing.this_machine()


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_measure_together_and_the_profile_is_used_again(monkeypatch, tmp_path):
    monkeypatch.setenv("TRAINWRIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr(probing, "divisions", lambda who: (Division(device="cpu", n_processes=2, n_threads=1),))
    monkeypatch.setattr(probing, "QUICK_S", 0.2)
    said = []
    profile = probing.this_machine(say=said.append)
    (group,) = profile.divisions[0].groups
    assert group.devices_per_node == 2
    assert set(group.intra.measured) == {"all_reduce", "all_gather", "reduce_scatter", "broadcast", "p2p"}
    assert 1e8 < group.device.flop_per_s["fp32"] < 1e13
    assert group.device.memory_bytes == pytest.approx(profile.memory_bytes / 2, rel=0.1)
    assert said[0] == "measuring 2 processes x 1 thread"
    monkeypatch.setattr(probing, "measure", None)  # would fail if called
    assert probing.this_machine() == profile
    path = probing.machine_path(identity())
    save_machine(replace(profile, is_busy=True, measured_at="2026-01-01T00:00:00+00:00"), path)
    with pytest.raises(TypeError, match="not callable"):  # it would measure again
        probing.this_machine()
    save_machine(profile, path)
    assert probing.this_machine(name="desk").name == "desk"


def test_a_broken_profile_is_measured_again_and_said(monkeypatch, tmp_path):
    path = tmp_path / "x.json"
    path.write_text("{")
    said = []
    assert probing._known(path, said.append) is None
    assert "measuring again" in said[0]
