"""Cluster text: what it says, what it assumes aloud, and what it refuses."""

import pytest

from trainwright.errors import InvalidInputError
from trainwright.hardware.parse import parse_cluster


def test_nodes_devices_and_network() -> None:
    cluster = parse_cluster("16 x 8xH100-SXM @ 400Gbit/s")
    (group,) = cluster.groups
    assert (group.n_nodes, group.devices_per_node, group.device.name) == (16, 8, "H100-SXM")
    assert group.intra.name == "NVLink-4"
    assert group.inter.bytes_per_s == 50e9
    assert "per device and direction; write 'per node' if all 8 devices of a node share it" in cluster.notes[0]


def test_per_node_is_divided_among_the_devices() -> None:
    (group,) = parse_cluster("2 x 8xA100-80GB @ 800 Gbit/s per node").groups
    assert group.inter.bytes_per_s == 12.5e9
    (group,) = parse_cluster("2 x 8xA100-80GB @ 25 GB/s per device").groups
    assert group.inter.bytes_per_s == 25e9


def test_a_bare_count_fills_usual_nodes() -> None:
    cluster = parse_cluster("16xH100-SXM")
    assert (cluster.groups[0].n_nodes, cluster.groups[0].devices_per_node) == (2, 8)
    assert cluster.notes[0] == "16 x H100-SXM: read as 2 nodes of 8"
    assert "no network given: InfiniBand-NDR (50.0 GB/s per device and direction)" in cluster.notes[1]
    (group,) = parse_cluster("64xGB200").groups
    assert (group.n_nodes, group.devices_per_node) == (1, 64)
    (group,) = parse_cluster("RTX 4090").groups
    assert group.n_devices == 1


def test_several_groups_are_joined_by_the_slowest_network() -> None:
    cluster = parse_cluster("8xA100-80GB + 8xRTX-3090")
    assert cluster.n_devices == 16
    assert cluster.is_heterogeneous
    assert cluster.between is not None
    assert cluster.between.bytes_per_s == cluster.groups[1].inter.bytes_per_s
    assert "A100-80GB: read as A100-SXM-80GB" in cluster.notes


def test_a_link_by_name() -> None:
    (group,) = parse_cluster("2 x 8xV100-32GB @ InfiniBand-EDR").groups
    assert group.inter.name == "InfiniBand-EDR"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("8xH100", "'H100' is not one device"),
        ("17xH100-SXM", "17 x H100-SXM do not fill equal nodes of at most 8"),
        ("8xH100-SXM @ 400", "'400' has no bandwidth unit"),
        ("8xH100-SXM @ 400 Gbit", "'400 Gbit' has no bandwidth unit"),
        ("8xH100-SXM @ 0 GB/s", "'0 GB/s': a link needs a bandwidth above 0"),
        ("8xH100-SXM @ NVLnk", "unknown link 'NVLnk'"),
        ("", "'' is not a group of devices"),
        ("8xH100-SXM + ", "'' is not a group of devices"),
        ("0xH100-SXM", "'0xH100-SXM' has no devices"),
        ("99999999 x 8xH100-SXM", "has 799,999,992 devices, more than anybody owns"),
        ("8xRTX-4099", "unknown device 'RTX-4099'"),
    ],
)
def test_refusals(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_cluster(text)
    assert says in caught.value.message
    assert caught.value.hint
