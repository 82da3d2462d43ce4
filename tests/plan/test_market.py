from trainwright.plan.market import offers, read_clusters


def test_any_is_every_priced_device_up_to_the_most():
    found = offers(16)
    assert len(found) >= 8
    assert all(cluster.n_devices == 16 for cluster in found)
    assert all(group.dollars_per_device_hour > 0 for cluster in found for group in cluster.groups)
    names = {cluster.groups[0].device.name for cluster in found}
    assert {"A100-SXM-80GB", "H100-SXM"} <= names
    assert len(read_clusters(["any", "4xRTX-4090"], 16)) == len(found) + 1
