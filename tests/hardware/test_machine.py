import json
from dataclasses import replace

import pytest

from trainwright.cost.corrections import scales_of
from trainwright.cost.stack import stack
from trainwright.errors import InvalidInputError
from trainwright.hardware.catalogue import device, link
from trainwright.hardware.cluster import Cluster, NodeGroup
from trainwright.hardware.link import MeasuredCollective
from trainwright.hardware.machine import (
    SCHEMA_VERSION,
    CachePoint,
    Exercise,
    MachineProfile,
    forget,
    learned,
    load_machine,
    machines,
    save_machine,
)
from trainwright.hardware.parse import parse_cluster
from trainwright.hardware.promise import PINNED, PINNED_BYTES, compare_machine
from trainwright.hardware.stored import entry, stored_machine


def made_up_machine():
    measured = {"all_reduce": (MeasuredCollective(n_ranks=2, message_bytes=(1e3, 1e6), seconds=(1e-4, 1e-3)),)}
    gloo = replace(link("NVLink-3"), name="gloo", measured=measured)
    group = NodeGroup(device=device("A100-SXM-80GB"), n_nodes=1, devices_per_node=2, intra=gloo, inter=gloo)
    return MachineProfile(
        name="desk", fingerprint="abc", description="a desk", measured_at="2026-11-21T00:00:00+00:00",
        memory_bytes=1e9, n_cores=2, divisions=(Cluster(name="2", groups=(group,)),),
        caches=(CachePoint(working_set_bytes=8192.0, latency_s=1e-9, bytes_per_s=1e11),),
        exercises=(Exercise(name="order", seconds={"rows": 1.0}),),
        learned={"forward": 1.2},
    )  # fmt: skip


@pytest.fixture
def profile():
    return made_up_machine()


def test_a_profile_comes_back_from_disk_as_it_was(profile, tmp_path):
    save_machine(profile, tmp_path / "machines" / "abc.json")
    assert load_machine(tmp_path / "machines" / "abc.json") == profile
    assert [path.name for path in (tmp_path / "machines").iterdir()] == ["abc.json"]


@pytest.fixture
def kept(profile, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINWRIGHT_CACHE", str(tmp_path))
    save_machine(profile, tmp_path / "machines" / "abc.json")
    return profile


def test_a_stored_machine_is_named_wherever_a_device_is(kept):
    assert stored_machine("Desk") == stored_machine("abc") == kept
    assert entry("desk").device.name == "desk"
    assert entry("H100-SXM").device.name == "H100-SXM"
    with pytest.raises(InvalidInputError, match=r"unknown device 'dsk'\nhint: did you mean .*desk"):
        entry("dsk")
    two, six = parse_cluster("2xdesk"), parse_cluster("3 x 2xdesk @ 10Gbit/s per device")
    assert (two.n_devices, two.groups[0].intra.name) == (2, "gloo")
    assert (six.groups[0].n_nodes, six.groups[0].inter.bytes_per_s) == (3, 1.25e9)
    assert parse_cluster("4xdesk").groups[0].n_nodes == 2
    with pytest.raises(InvalidInputError, match="3 x desk do not fill equal machines of at most 2"):
        parse_cluster("3xdesk")


def test_a_machine_is_compared_with_its_datasheet_and_odd_figures_are_told(kept):
    slow = replace(
        kept,
        is_busy=True,
        exercises=(Exercise(name="host to device and back", seconds={PINNED: PINNED_BYTES / 6e9}),),
        facts={"pcie_lanes": 4.0, "pcie_lanes_max": 16.0, "power_limit_w": 300.0, "power_default_w": 400.0},
    )
    found = compare_machine(slow)
    assert found.promised_by.startswith("the datasheet of A100-SXM-80GB")
    assert {f.name: f.share for f in found.figures}["matmul bf16"] == 1.0
    told = " ".join(found.odd)
    for word in ("port to the host reaches 6.00 GB/s", "4 of its 16 PCIe lanes", "from 400 to 300 W", "was busy"):
        assert word in told
    assert compare_machine(kept).odd == ()


def test_other_versions_and_broken_files_are_refused_with_what_to_do(profile, tmp_path):
    path = tmp_path / "abc.json"
    with pytest.raises(InvalidInputError, match="does not exist"):
        load_machine(path)
    path.write_text("{")
    with pytest.raises(InvalidInputError, match="not a machine profile"):
        load_machine(path)
    path.write_text('{"schema_version": 99}')
    with pytest.raises(InvalidInputError, match=r"schema version 99.*\n.*probe --fresh"):
        load_machine(path)
    save_machine(profile, path)
    plain = json.loads(path.read_text())
    path.write_text(json.dumps({**plain, "n_cores": "two"}))
    with pytest.raises(InvalidInputError, match="n_cores is 'two', of the wrong type"):
        load_machine(path)
    path.write_text(json.dumps({**plain, "colour": "red"}))
    with pytest.raises(InvalidInputError, match="unknown keys: colour"):
        load_machine(path)
    path.write_text(json.dumps({"schema_version": SCHEMA_VERSION, "name": "x"}))
    with pytest.raises(InvalidInputError, match="lacks keys"):
        load_machine(path)
    assert machines(tmp_path) == ()


def test_a_division_that_was_not_measured_is_refused(profile):
    assert profile.division(2).n_devices == 2
    with pytest.raises(InvalidInputError, match=r"not measured with 3 processes\nhint: it was with 2"):
        profile.division(3)


def test_learning_moves_half_way_and_can_be_forgotten(profile):
    fresh = forget(profile)
    assert fresh.learned == {}
    once = learned(fresh, {"compute": (1.0, 1.44), "optimizer": (0.0, 1.0)})
    assert once.learned == {"compute": pytest.approx(1.2)}
    device = once.division(2).groups[0].device
    assert device.learned == once.learned
    assert scales_of(stack("trainwright"), device).compute == pytest.approx(1.2)
    wild = learned(once, {"compute": (1.0, 1000.0)})
    assert wild.learned["compute"] == 2.0
    assert forget(wild) == fresh
