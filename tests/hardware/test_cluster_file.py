"""A cluster as a TOML file."""

from pathlib import Path

import pytest

from trainwright.errors import InvalidInputError
from trainwright.hardware.parse import parse_cluster

WHOLE = """
name = "our rack"
[[group]]
device = "Homemade"
n_nodes = 2
devices_per_node = 4
network = "100 Gbit/s per node"
intra = "Backplane"
host_memory = "512 GiB"
price_per_device_hour = "$1.25"

[[device]]
name = "Homemade"
vendor = "us"
architecture = "Hopper"
kind = "gpu"
memory_gib = 64
bandwidth_gb_per_s = 2000
tflops = { bf16 = 500, fp32 = 40 }
source = "our bench, 2026-10"

[[link]]
name = "Backplane"
bandwidth_gb_per_s = 200
latency_us = 3
source = "our bench, 2026-10"
"""


def test_own_devices_links_and_prices(tmp_path: Path) -> None:
    path = tmp_path / "rack.toml"
    path.write_text(WHOLE)
    cluster = parse_cluster(path)
    (group,) = cluster.groups
    assert cluster.name == "our rack"
    assert group.device.flop_per_s["bf16"] == 500e12
    assert "taken from its relative H100-SXM" in group.device.efficiency.source
    assert (group.intra.bytes_per_s, group.inter.bytes_per_s) == (200e9, 3.125e9)
    assert (group.host_memory_bytes, group.dollars_per_device_hour) == (512 * 2**30, 1.25)
    assert parse_cluster(str(path)) == cluster


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('network = "100 Gbit/s per node"', 'network = "100 Gbit/s"', "says neither per device nor per node"),
        ("n_nodes = 2", "n_nodes = 0", "n_nodes is 0"),
        ("n_nodes = 2", "", "lacks n_nodes"),
        ("memory_gib = 64", "", "device 'Homemade' lacks memory_gib"),
        ("latency_us = 3", "", "link 'Backplane' lacks latency_us"),
        ("host_memory", "host_memori", "unknown key in"),
        ('name = "our rack"', 'colour = "red"', "unknown key in"),
        ('kind = "gpu"', 'kind = "cpu"', "kind is 'cpu'"),
        ("memory_gib = 64", 'memory_gib = "64 GiB"', "memory_gib is '64 GiB'"),
        ("bf16 = 500", "bf16 = 0", "tflops: bf16 is 0"),
        ("{ bf16 = 500, fp32 = 40 }", "500", "tflops is 500"),
        ("bf16 = 500", "bf17 = 500", "unknown key in"),
        ("latency_us = 3", "latency_us = true", "latency_us is True"),
        ("memory_gib = 64", "memory_gib = 64\npower = 300", "unknown key in"),
        ("[[device]]", "[device]", "[device] is one table"),
    ],
)
def test_refusals(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "rack.toml"
    path.write_text(WHOLE.replace(old, new))
    with pytest.raises(InvalidInputError) as caught:
        parse_cluster(path)
    assert says in caught.value.message
    assert caught.value.hint


def test_a_file_without_groups(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(InvalidInputError, match=r"has no \[\[group\]\]"):
        parse_cluster(tmp_path / "empty.toml")
